#include "oci-mount/layer/stream_hash.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

TEST(StreamHash, IsXxh3OfAllBytesHoweverTheyCome) {
  const std::string text = test::sample_bytes(100'003, 1);
  auto hash = StreamHash::create();
  ASSERT_TRUE(hash);
  for (int round = 0; round < 2; ++round) {
    std::size_t at = 0;
    for (std::size_t size = 1; at < text.size(); at += size, size = size * 3 % 4099 + 1)
      hash->update(as_bytes(std::string_view(text).substr(at, size)));
    EXPECT_EQ(hash->digest(), ::XXH3_64bits(text.data(), text.size()));
    const XXH128_hash_t wide = ::XXH3_128bits(text.data(), text.size());
    EXPECT_EQ(hash->wide_digest().high, wide.high64);
    EXPECT_EQ(hash->wide_digest().low, wide.low64);
    hash->reset();
    EXPECT_EQ(hash->digest(), ::XXH3_64bits("", 0));
  }
}

}  // namespace
}  // namespace layerboot::layer
