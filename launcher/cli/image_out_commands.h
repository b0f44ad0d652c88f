// `layerboot push`, `save`, `load` and `build`.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Each prints what it made alone on standard output: names, or of `build` the image's digest.
Result<void> push_command(const StateDirs& dirs, const Options& options);
Result<void> save_command(const StateDirs& dirs, const Options& options);
Result<void> load_command(const StateDirs& dirs, const Options& options);
Result<void> build_command(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
