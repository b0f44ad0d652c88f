// The initrd of an appliance: of a machine that somebody else puts together.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/kernel/prepare_kernel.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// `kernel`'s initrd, with the modules of appliance_aliases() instead of those of boot_aliases(): the same
/// bytes for the same kernel, guest-init, busybox and e2fsck. `work` is an empty directory for the unpacked
/// modules. EINTR when interrupted. REQUIRES: the main thread, inside an InterruptScope.
Result<std::string> appliance_initrd(const Kernel& kernel, const std::filesystem::path& guest_init_binary,
                                     const std::filesystem::path& work);

}  // namespace layerboot::launcher
