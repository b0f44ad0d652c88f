// What each of oci-mount's commands does, from options to exit code.
#pragma once

#include "oci-mount/base/result.h"
#include "oci-mount/mount/options.h"

namespace layerboot::mount {

/// Runs the command; an error is for main to print. 0, or 1 where a message has been printed already.
Result<int> run_command(const Options& options);

}  // namespace layerboot::mount
