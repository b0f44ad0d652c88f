// `layerboot volume`: the volumes that are kept by us.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Lists, makes or removes them; each name is tried, and 1 given when one failed.
Result<int> volumes(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
