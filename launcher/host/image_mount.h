// ImageMount: an image mounted on a directory of this machine for as long as the object lives.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/host/child.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct ImageMountPlan {
  std::filesystem::path oci_mount;  // the program
  std::string image;
  std::string platform = {};                        // which of an image for several; empty: this machine's
  std::vector<std::filesystem::path> added_layers;  // plain tars, on top
  std::filesystem::path mountpoint;                 // an existing, empty directory
  bool show_progress = true;
};

/// Read-only, by `oci-mount mount --read-all`: every file can be read by this user and by no other. Gone when
/// the object or this process is.
class ImageMount {
 public:
  /// Returns when the mount is of use. An Error without text: oci-mount has said why on standard error.
  /// EINTR when interrupted. REQUIRES: the main thread, inside an InterruptScope.
  static Result<ImageMount> mount(const ImageMountPlan& plan);

  ImageMount(ImageMount&&) noexcept = default;
  ImageMount& operator=(ImageMount&&) = delete;
  ImageMount(const ImageMount&) = delete;
  ImageMount& operator=(const ImageMount&) = delete;
  ~ImageMount();

 private:
  explicit ImageMount(Child child) : child_(std::move(child)) {}

  Child child_;
};

}  // namespace layerboot::launcher
