// `layerboot packaged`: what a container of a packaged image runs.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// The VM's name in its container.
inline constexpr const char* kPackagedName = "vm";

/// `run` with the options `words`, of this image and command. EINVAL for what `run` refuses, and for what has
/// no meaning in a container: another name, --detach, --rm, --docker, --socket-path, --disk-image.
Result<Options> packaged_run(const std::vector<std::string>& words, const std::string& image,
                             const std::vector<std::string>& command);

/// Boots the image of this container: with the options it was packaged with and those of LAYERBOOT_OPTIONS,
/// options.guest_command, and what the engine has given the container (packaged_start.h). Gives the VM's
/// status. As the container's first process it forks.
Result<int> packaged_command(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
