// `layerboot build --vm`: an image built by VMs of itself.
#pragma once

#include <string>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Carries out the Containerfile: each RUN is done in a VM of what is built so far, with its own init and
/// kernel, and becomes a layer, with what was copied before it. A step whose image, instructions and files
/// are as before is not done again. `build` is options.build with all that belongs to it. Gives the image's
/// digest. An error tells the line; nothing of the VM is left then. EINTR when interrupted.
Result<std::string> build_in_vms(const StateDirs& dirs, const Options& options, const BuildOptions& build);

}  // namespace layerboot::launcher
