// What a merged tree may hold at most, beside what its layers may (layer/limits.h).
#pragma once

#include <cstdint>

namespace layerboot::tree {

inline constexpr std::uint32_t kMaxNodes = 16'000'000;  // of one image

}  // namespace layerboot::tree
