// `layerboot doctor`: what this machine can do.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Prints a line for each thing that matters, with its remedy. 1 when something is missing without which no
/// VM runs.
Result<int> doctor(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
