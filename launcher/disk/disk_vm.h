// What a VM whose root is a disk needs beside what every VM needs.
#pragma once

#include "launcher/disk/disk_build.h"
#include "launcher/kernel/prepare_kernel.h"
#include "launcher/vm/vm_config.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Makes what is missing of the base disk (`plan`, of config.quota_bytes), the VM's own on top of it, the
/// disk with the kernel's modules, the VM layer and the initrd that brings it, and names them in `config`.
/// EINVAL when the VM's disk is of another image or of another size. REQUIRES: the main thread.
Result<void> prepare_disk_vm(const StateDirs& dirs, const DiskPlan& plan, const VmDirectory& directory,
                             const Kernel& kernel, VmConfig& config);

/// check_overlay() of the VM's disk, if it is a qcow2: before each start of QEMU, the second of a run as
/// well.
Result<void> check_root_disk(const VmPaths& paths);

}  // namespace layerboot::launcher
