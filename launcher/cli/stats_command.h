// `layerboot stats`: what running VMs use.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Columns, anew each second until Ctrl-C, or once with no_stream; JSON, a document a line, if asked for. Of
/// the VMs that are named, else of all that run.
Result<void> show_stats(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
