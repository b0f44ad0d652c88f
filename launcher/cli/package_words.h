// The options that `package` stores in an image, for each container of it. Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// `words`, which were parsed into `run`, with what they name by files of this machine (--ssh-key,
/// --env-file) in its place as text. EINVAL where a word can't be kept in a line, where what is in it would
/// be everybody's who has the image (--password), or where such a file is named in a way that is not
/// understood here.
Result<std::vector<std::string>> words_to_store(const std::vector<std::string>& words, const Options& run);

}  // namespace layerboot::launcher
