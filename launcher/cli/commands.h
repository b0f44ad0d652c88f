// What each of layerboot's commands does.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Carries out the command on the main thread, and gives the exit status. An Error (exit status 1) without
/// text: a child has said why on standard error.
Result<int> carry_out(const Options& options);

}  // namespace layerboot::launcher
