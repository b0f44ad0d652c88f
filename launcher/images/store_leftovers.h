// What a broken-off pull leaves in the store: the directory it worked in, the blob that skopeo was writing.
#pragma once

#include <cstdint>
#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct Leftovers {
  std::size_t files = 0;
  std::uint64_t freed_bytes = 0;
};

/// Whether any process has the file open; also where that can't be told.
Result<bool> is_open_elsewhere(const std::filesystem::path& path);

/// Removes them. A file that a process has open is left: another tool may be writing to the store. REQUIRES:
/// the store's lock is held, so that it is no pull of ours.
Result<Leftovers> remove_leftovers(const std::filesystem::path& store);

}  // namespace layerboot::launcher
