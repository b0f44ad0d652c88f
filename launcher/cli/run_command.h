// `layerboot run` and `layerboot serve`: brings kernel, daemon and QEMU together.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Boots the VM and stays until it ends, on the main thread. The exit status for the caller. An Error without
/// text: a child has said why on standard error.
Result<int> run_vm(const StateDirs& dirs, const Options& options);

/// Runs a VM that exists with the settings of its last run, in the background or, with `attach`, here.
Result<int> start_vm(const StateDirs& dirs, const Options& options);

/// Prints the VM as a libvirt domain, made first when it is new. Everything that it names is there afterwards
/// but the daemon's socket of a virtiofs root, at which `serve` listens. EBUSY while the VM runs.
Result<void> export_libvirt(const StateDirs& dirs, const Options& options);

/// Serves the image alone, until a signal ends it.
Result<void> serve_image(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
