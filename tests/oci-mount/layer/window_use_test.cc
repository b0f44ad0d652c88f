#include "oci-mount/layer/window_use.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

WindowUse window_with(std::initializer_list<std::pair<std::size_t, std::size_t>> needed) {
  WindowUse window;
  const std::string bytes = test::sample_bytes(kWindowBytes, 1);
  std::ranges::copy(as_bytes(bytes), window.bytes.begin());
  for (const auto& [from, count] : needed)
    std::fill_n(window.needed.begin() + static_cast<std::ptrdiff_t>(from), count, std::uint8_t{1});
  return window;
}

TEST(WindowUse, WhatIsReferredToIsKeptAndNothingElse) {
  const WindowUse use = window_with({{0, 1}, {1000, 50}, {kWindowBytes - 3, 3}});
  const auto packed = pack_used_window(use);
  ASSERT_TRUE(packed);
  EXPECT_LT(packed->size(), 200U);
  Window window;
  ASSERT_TRUE(unpack_window(*packed, window));
  for (std::size_t i = 0; i < kWindowBytes; ++i)
    ASSERT_EQ(window[i], use.needed[i] != 0 ? use.bytes[i] : std::byte{0}) << i;
}

TEST(WindowUse, OfWhichNothingIsReferredToIsNone) {
  const auto packed = pack_used_window(window_with({}));
  ASSERT_TRUE(packed);
  EXPECT_TRUE(packed->empty());
}

}  // namespace
}  // namespace layerboot::layer
