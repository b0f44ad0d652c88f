// The extended attributes of a file.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Names with their values.
using FileXattrs = std::vector<std::pair<std::string, std::string>>;

/// Of a symlink its own; none where the file system has none.
Result<FileXattrs> read_xattrs(const std::filesystem::path& path);

}  // namespace layerboot::launcher
