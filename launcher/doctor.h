// `layerboot doctor`: what this machine can do.
#pragma once

#include "launcher/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

Result<void> doctor(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
