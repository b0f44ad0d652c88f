// Taking out of the local store and the index cache what no image needs any more.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// The images that VMs were made from, by what their config.json says: reference, and the VMs' names. A
/// config.json that can't be read, or is missing where the VM has files, is an error, as its VM's image must
/// not go.
Result<std::map<std::string, std::vector<std::string>>> images_of_vms(const StateDirs& dirs);

struct GcReport {
  std::size_t blobs = 0;
  std::size_t indexes = 0;
  std::size_t disks = 0;
  std::size_t archives = 0;  // that were unpacked into the cache
  std::uint64_t freed_bytes = 0;
  /// Images of which a document or the entry is damaged. What they need can't be told, so that all blobs were
  /// kept.
  std::vector<IncompleteImage> doubtful;
};

/// Removes blobs that no image leads to, what broken-off pulls, loads and saves left, layer indexes of blobs
/// that are in no place it knows, of local files and directories that are gone, and of directories over a
/// week old, and tree indexes of layers without an index or as old. An image that a process reads is kept,
/// also when index.json has forgotten it. Indexes and trees are caches: at worst one is built again. An image
/// whose VM exists is in index.json still, as forget refuses it. Base disks go that no VM lies on, disks of
/// modules after a week, and unpacked archives that no VM was made from and nobody reads. What can't be
/// judged is kept: all that an artifact or a document of an unknown type names, and every blob while a
/// document is damaged. REQUIRES: the store's lock is held.
Result<GcReport> collect_garbage(const StateDirs& dirs);

}  // namespace layerboot::launcher
