// Columns of a list.
#pragma once

#include <string>
#include <vector>

namespace layerboot::launcher {

/// Columns as wide as their widest cell; the last one is left as it is. The first row is the heading.
std::string columns(const std::vector<std::vector<std::string>>& rows);

}  // namespace layerboot::launcher
