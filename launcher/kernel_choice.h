// The kernel that the options ask for.
#pragma once

#include "launcher/kernel/prepare_kernel.h"
#include "launcher/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Fetched and prepared with our guest-init, unless it is there already.
Result<Kernel> kernel_for(const StateDirs& dirs, const Options& options);

/// That this kernel gets by without an initrd: what its root is on is built in. EINVAL names what is not.
Result<void> check_no_initrd(const Kernel& kernel, bool disk_root);

}  // namespace layerboot::launcher
