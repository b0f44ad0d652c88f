// A container image that boots a VM's image when an ordinary engine runs it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/kernel/prepare_kernel.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct PackageOptions {
  std::string image;                // the VM's: what open_image() takes
  std::string base;                 // the same of the image with QEMU and our programs' libraries
  Kernel kernel;                    // with an initrd
  std::filesystem::path layerboot;  // our programs
  std::filesystem::path vfsd;
  std::filesystem::path guest_init;
  std::vector<std::string> run_options;  // words for each run of it, before the image; none has a line feed
  std::vector<std::string> ports;        // "8080/tcp": what the container listens at beside the image's own
  std::string name;                      // as the store is to call it; "": it goes by its digest
  bool show_progress = true;
};

/// Makes the image in the local store, and gives its digest. The same parts give the same digest. Layers,
/// lowest first: the base's, our programs, the kernel, each of the image's layers as it is, and what names
/// them: images packaged with the same base, kernel and lower layers share those. EINTR when interrupted.
/// REQUIRES: the main thread.
Result<std::string> package_image(const StateDirs& dirs, const PackageOptions& options);

}  // namespace layerboot::launcher
