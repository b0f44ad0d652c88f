// Taking an image into the local store, and making good what is damaged there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/blob_check.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct PullOptions {
  std::string reference;   // pull_source.h
  std::string name;        // what the store is to call it; "": as it is called where it comes from
  std::string platform;    // "linux/arm64"; "": this machine's
  bool tls_verify = true;  // false: plain http, or a certificate nobody signed, is taken
  bool show_progress = true;
  bool keep_source = true;    // false: from there it can't be had again
  bool keeps_digest = false;  // an Error where its manifest can't stay as it is; not from a registry
  bool any_platform = false;  // without `platform`: whatever it is for; not from a registry
};

/// Copies it with skopeo, an image for the platform that is chosen by one rule, wherever it comes from
/// (manifest_choice.h). What could not be served (an artifact, another platform's, a layer of an unknown
/// type) is refused before its layers are fetched. A blob appears whole or not at all, and index.json, which
/// makes the image known, is written last, durably, and under the store's lock; so a pull that is broken off
/// leaves at most blobs, which the next one uses and gc removes, and, where it was killed, a directory that
/// the next one removes. What is there is not fetched again, but read: a blob that is not what it is called
/// is replaced. Gives the name in the store. EINTR when interrupted.
Result<std::string> pull_image(const StateDirs& dirs, const PullOptions& options);

/// Takes the image `staged_name` of a layout on the store's file system into the store, as `name` ("": it
/// goes by its digest), durably: blobs are moved. Gives its digest. REQUIRES: the store's lock is held.
Result<std::string> adopt_layout(const std::filesystem::path& store, const std::filesystem::path& layout,
                                 const std::string& staged_name, const std::string& name);

/// Bytes in files below a directory: what a tool has written there so far.
std::uint64_t size_of_files_below(const std::filesystem::path& directory);

/// Reads all blobs of an image of the store: what is missing, or damaged.
Result<std::vector<BlobFinding>> check_image(const std::filesystem::path& store, const StoredImage& image,
                                             bool show_progress);

/// Fetches again, from where it came, what check_image() found; the image stays the same. An error, and
/// nothing is changed, where that can't be had any more. Of `options` the last two count.
Result<void> repair_image(const StateDirs& dirs, const StoredImage& image,
                          const std::vector<BlobFinding>& findings, const PullOptions& options);

}  // namespace layerboot::launcher
