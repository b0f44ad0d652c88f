// The image that the layer store is measured on where files and layers count: 100,000 files in 30 layers.
#pragma once

#include <filesystem>

namespace layerboot::bench {

inline constexpr unsigned kWideFiles = 100'000;
inline constexpr unsigned kWideLayers = 30;

/// Writes it as an OCI layout with the tag "wide". Each layer replaces some files of the one below, and hides
/// some.
void make_wide_image(const std::filesystem::path& layout);

}  // namespace layerboot::bench
