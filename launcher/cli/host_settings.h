// What a run's settings leave to this machine to choose.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Finds, and makes where they are missing, the volumes that are kept by us; publishes what the image exposes
/// if that was asked for; and gives ports that may be any a free one, the last run's if it still is, saying
/// which. Afterwards config.json can hold them.
Result<void> settle_on_host(const StateDirs& dirs, Options& options);

}  // namespace layerboot::launcher
