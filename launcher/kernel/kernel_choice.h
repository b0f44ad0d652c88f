// The kernel that a run asks for.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/kernel/prepare_kernel.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// `kernel` as --kernel takes it, fetched and prepared with our guest-init unless it is there already.
/// `guest_init` empty: found beside this program.
Result<Kernel> kernel_for(const StateDirs& dirs, const std::string& kernel,
                          const std::filesystem::path& guest_init,
                          const Architecture& architecture = own_architecture());

/// That this kernel gets by without an initrd: what its root is on is built in. EINVAL names what is not.
Result<void> check_no_initrd(const Kernel& kernel, bool disk_root);

}  // namespace layerboot::launcher
