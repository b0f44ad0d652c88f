// Images of the local store on their way out: to a registry, another engine, or a file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct PushOptions {
  std::string reference;    // an image of the store: its name, or the beginning of its digest
  std::string destination;  // a registry's name, docker-daemon:NAME or containers-storage:NAME; "": its own
  bool tls_verify = true;
  bool with_identity = false;  // an image that is one machine, or has its password, too
  bool show_progress = true;
};

/// Copies it there with skopeo, byte by byte as it is; blobs that a registry has are not sent again. Gives
/// the name that it has there. EPERM for one that has a VM's identity or its --password (image_commit.h),
/// unless asked for; ENOENT for an image that is not there or not whole; EINTR when interrupted.
Result<std::string> push_image(const StateDirs& dirs, const PushOptions& options);

enum class ArchiveKind { kOci, kDocker };

struct SaveOptions {
  std::string reference;
  /// Appears whole or not at all, at the end of symlinks; what is there and is no file is written to
  /// (output_place.h). Empty: standard output.
  std::filesystem::path output;
  ArchiveKind kind = ArchiveKind::kOci;
  bool with_identity = false;  // as for push_image()
  bool show_progress = true;
};
/// An archive of it, that `load`, skopeo, podman, and docker (where it is of that kind) read. EPERM as for
/// push_image().
Result<void> save_image(const StateDirs& dirs, const SaveOptions& options);

struct LoadOptions {
  std::filesystem::path input;  // empty: standard input
  std::string name;             // of an archive's only image; "": as it is called there
  bool show_progress = true;
};
/// Takes the images of an archive of either kind into the store. Gives their names.
Result<std::vector<std::string>> load_images(const StateDirs& dirs, const LoadOptions& options);

}  // namespace layerboot::launcher
