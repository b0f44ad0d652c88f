// A gzip layer of one file in deflate blocks as large as an index takes: no checkpoint can be set within one.
#pragma once

#include <cstddef>
#include <string>

#include "tests/support/image_builder.h"

namespace layerboot::test {

/// What each span of the layer decodes to, and what the file "big" has for each.
inline constexpr std::size_t kGiantSpanBytes = (32U << 20) - 4096;

/// "big" is `spans` times kGiantSpanBytes of zeroes, but for the first byte of each span, which is 'A' + its
/// number % 26.
ImageBuilder::Layer giant_block_layer(unsigned spans);

}  // namespace layerboot::test
