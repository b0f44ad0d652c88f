// `layerboot inspect IMAGE` and `layerboot history`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// All that is known of an image, in the store or named in another notation. One in the store that can't be
/// opened is described as far as it goes, with its problem. ENOENT when there is none.
Result<nlohmann::json> inspect_image(const StateDirs& dirs, const std::string& reference);

/// Prints an image's layers, the topmost first: what made each, its size, and the size of its index.
Result<void> show_history(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
