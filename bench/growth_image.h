// Images of any number of files and layers, to see what grows with them.
#pragma once

#include <filesystem>

namespace layerboot::bench {

inline constexpr unsigned kGrowthFilesPerDirectory = 100;

struct GrowthShape {
  unsigned files = 1000;  // rounded down to whole directories, the same number in each layer
  unsigned layers = 1;
};

/// Writes it as an OCI layout with the tag "latest", in gzip layers: empty files, their directories side by
/// side.
void make_growth_image(const std::filesystem::path& layout, GrowthShape shape);

}  // namespace layerboot::bench
