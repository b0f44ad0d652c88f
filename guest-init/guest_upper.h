// A root of two parts: the image, which is only read, and over it, by an overlayfs, what the guest writes to
// a file system of its own. Neither part has a path in the guest once the root is switched.
#pragma once

#include <string>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

/// Where the file system is that takes what the guest writes, for who has the initramfs for its root.
inline constexpr const char* kUpperMount = "/upper";

/// Mounts the image, `options.upper` and the overlayfs of both, the latter on kNewRoot. Stops the boot when
/// it can't.
void mount_over_image(const BootOptions& options);

/// Gives directories that are to take an overlayfs of somebody else's, or to be written to as fast as can be,
/// a plain directory of the guest's own file system: the image's volumes, and what container engines write
/// to. One in which the image has files stays as it is. `engines`: make the engines' directories where they
/// are missing.
void bind_plain_directories(const std::vector<std::string>& volumes, bool engines);

}  // namespace guest_init
