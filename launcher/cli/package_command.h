// `layerboot package`: an image as a container that boots it.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Makes it, sends it where options.push_to says, and prints its digest alone.
Result<void> package_command(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
