// The images that are built here from Debian's packages, at the first need: minutes, once, and said.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// The image that `layerboot run --docker` takes when none is named, a Debian with a Docker engine. Gives its
/// reference: DATA/images/docker. Errors are image.sh's own, told on standard error.
Result<std::string> supply_docker_image(const StateDirs& dirs);

/// The same of what a packaged VM needs beside our `programs`, QEMU and the libraries that these are linked
/// with: DATA/images/programs-HASH, where HASH is of what they need of their libraries, and of how the image
/// is made. What was built for others stays, for whoever has them.
Result<std::string> supply_program_image(const StateDirs& dirs,
                                         const std::vector<std::filesystem::path>& programs);

/// The libraries of `programs`, with the versions of their symbols, in what `ldd -v` has said of these. Pure.
[[nodiscard]] std::set<std::string> needed_libraries(std::string_view said,
                                                     const std::vector<std::filesystem::path>& programs);

}  // namespace layerboot::launcher
