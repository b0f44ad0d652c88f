// `layerboot images`: which there are, as columns, as lines of one's own, or as JSON.
#pragma once

#include <string>
#include <string_view>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// "sha256:0123456789ab", or all of it.
std::string shown_digest(std::string_view digest, bool whole);

/// That the filters and the template of `options` are ones.
Result<void> check_image_list(Options& options);
/// The names of a template's fields, for the help.
std::string image_list_fields();

Result<void> list_images(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
