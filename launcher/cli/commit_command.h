// `layerboot commit`.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Makes an image of a stopped VM, and prints its digest. EBUSY while the VM runs; ENOTSUP where its root is
/// on a disk, or what it wrote was kept nowhere.
Result<void> commit_vm(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
