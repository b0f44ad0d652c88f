// A VM's image, and what the VM has written as one more layer, as a new image of the local store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

/// The label of an image in which a VM's identity is, such as its ssh host keys: the VM's name.
inline constexpr const char* kIdentityLabel = "layerboot.identity";

/// The label of an image in which root's password is that `run --password` gave a VM: the VM's name.
inline constexpr const char* kPasswordLabel = "layerboot.root-password";

struct CommitOptions {
  std::string vm;     // for messages
  std::string image;  // what open_image() takes
  store::Platform platform = store::host_platform();
  std::filesystem::path upper;
  std::vector<std::filesystem::path> added_layers;  // what the VM had on top: its files are left out
  std::filesystem::path oci_mount;
  std::string name;                  // as the store is to call it; "": it goes by its digest
  std::vector<std::string> changes;  // image_change.h
  std::string author;
  std::string message;
  std::string created_by = "layerboot commit";  // for its history
  std::string compression = "gzip";
  bool squash = false;         // everything in one layer
  bool keep_identity = false;  // machine-id, ssh host keys, /run and /tmp too
  bool drop_identity = false;  // squashed: nor what the image has of that; commit_image() decides it
  bool has_password = false;   // of --password, in /etc/shadow
  bool show_progress = true;
  /// Called around the reading of the upper, so that it is held still no longer than that. An Error ends the
  /// commit. May be empty.
  std::function<Result<void>()> before_reading;
  std::function<Result<void>()> after_reading;
};

/// What `config`, an image's, says of that label; "": nothing.
std::string label_in(const store::Json& config, const char* label);

/// Writes what the VM has written as one layer, the file `file`, which must not exist: a tar, compressed as
/// `options` say. Of these image, platform, upper, layers and program count. Gives what `oci-mount diff` says
/// of it: mediaType, digest, size, diff_id. EINTR when interrupted. REQUIRES: as commit_image(), and the main
/// thread, inside an InterruptScope.
Result<store::Json> write_written_layer(const StateDirs& dirs, const CommitOptions& options,
                                        const std::filesystem::path& file);

/// ENOTSUP where `image`, which is called `name`, is a directory: no layer can be added to it.
Result<void> check_takes_layers(const store::Image& image, std::string_view name);

/// Makes the image, and gives its digest. It is in the store whole and durable, with its index, or not at
/// all; layers of an image from elsewhere are copied into the store. The same upper, with SOURCE_DATE_EPOCH
/// set, gives the same image. Squashed, an image that is labelled with a machine's identity loses both,
/// unless that is to be kept. E2BIG where not squashed it would have too many layers to be run; EINVAL where
/// a change is not understood, or the upper is of another image; EINTR when interrupted. REQUIRES: nobody
/// writes to the upper between the two calls.
Result<std::string> commit_image(const StateDirs& dirs, CommitOptions options);

/// The same image with another configuration and no new layer. Of `options` image, platform, changes, name,
/// author, message and created_by count. An image of the store needs no copy of its layers.
Result<std::string> change_image(const StateDirs& dirs, const CommitOptions& options);

}  // namespace layerboot::launcher
