// `layerboot export systemd` and `export kubernetes`: a VM as what others keep running.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Prints the unit of a VM that is known.
Result<void> export_systemd(const StateDirs& dirs, const Options& options);
/// Prints the manifests. `options.name` is a VM, whose settings they take, or else a packaged image.
Result<void> export_kubernetes(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
