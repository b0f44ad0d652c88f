// The images that are built here from Debian's packages, at the first need: minutes, once, and said.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// The image that `layerboot run --docker` takes when none is named, a Debian with a Docker engine. Gives its
/// reference: DATA/images/docker. Errors are image.sh's own, told on standard error.
Result<std::string> supply_docker_image(const StateDirs& dirs);

/// The same of DATA/images/programs: what a packaged VM needs beside our `programs`, QEMU and the libraries
/// that these are linked with.
Result<std::string> supply_program_image(const StateDirs& dirs,
                                         const std::vector<std::filesystem::path>& programs);

}  // namespace layerboot::launcher
