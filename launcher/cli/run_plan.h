// From options to what a supervisor is to do: the VM's configuration, its daemons, its QEMU.
#pragma once

#include <filesystem>
#include <vector>

#include "launcher/cli/options.h"
#include "launcher/host/child.h"
#include "launcher/kernel/prepare_kernel.h"
#include "launcher/supervise/supervisor.h"
#include "launcher/vm/vm_config.h"
#include "launcher/vm/vm_directory.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct Prepared {
  Kernel kernel;
  VmRecord record;               // what config.json is to say once this has come to something; not yet saved
  VmConfig config;               // without the volumes that are files
  std::vector<LayerFile> files;  // those, as they are now
};

/// The image is looked at before anything is fetched for it, then the kernel. REQUIRES: the main thread.
Result<Prepared> prepare(const StateDirs& dirs, const Options& options, const VmDirectory& directory);

/// What the settings name of this machine and no run can do without is there: directories, interfaces, the
/// kernel. Not whether ports are free, which a VM that runs has itself.
Result<void> check_host_has(const RunSettings& settings);

/// The daemon of a root on virtiofs, and the VM layer that it serves. `socket` empty: it has QEMU's end.
Result<ChildSpec> vfsd_spec(const StateDirs& dirs, const Options& options, const VmDirectory& directory,
                            const Prepared& prepared, const std::filesystem::path& socket);

/// Into `config`: KVM or emulation, by trial where the options leave it open.
Result<void> decide_accelerator(const StateDirs& dirs, const Options& options,
                                const std::filesystem::path& qemu, VmConfig& config);

/// Into `plan`: a daemon for each volume; where it serves by itself it listens beside the root's.
Result<void> add_volumes(const StateDirs& dirs, const Options& options, const VmDirectory& directory,
                         const VmConfig& config, SupervisorPlan& plan);

/// As --no-initrd asks. After the accelerator's probe, whose guest is in the initrd.
Result<void> leave_out_initrd(const Kernel& kernel, VmConfig& config);

/// A whole run. `directory` outlives the plan. REQUIRES: the main thread.
Result<SupervisorPlan> plan_for(const StateDirs& dirs, const Options& options, VmDirectory& directory);

}  // namespace layerboot::launcher
