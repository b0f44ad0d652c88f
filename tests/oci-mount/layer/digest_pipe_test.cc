#include "oci-mount/layer/digest_pipe.h"

#include <gtest/gtest.h>

#include <cstring>

#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

TEST(DigestPipe, HashesEachStreamInOrder) {
  auto first = store::Hasher::create(store::HashAlgorithm::kSha256);
  auto second = store::Hasher::create(store::HashAlgorithm::kSha256);
  ASSERT_TRUE(first && second);
  std::string text;
  {
    SideThread side;
    DigestPipe pipe(side);
    // More buffers than there are: the first ones must come back.
    for (std::size_t i = 0; i < 3 * DigestPipe::kMaxBuffers; ++i) {
      const std::string piece = test::sample_bytes(1000 + i, i);
      text += piece;
      for (auto* hasher : {&*first, &*second}) {
        auto buffer = pipe.acquire();
        std::memcpy(buffer.get(), piece.data(), piece.size());
        pipe.submit(*hasher, std::move(buffer), piece.size());
      }
    }
    side.drain();
    EXPECT_EQ(first->finish().text(), test::sha256_text(text));
    EXPECT_EQ(second->finish().text(), test::sha256_text(text));
  }
}

TEST(DigestPipe, AllBuffersMayBeOnTheirWay) {
  auto hasher = store::Hasher::create(store::HashAlgorithm::kSha256);
  ASSERT_TRUE(hasher);
  SideThread side;
  DigestPipe pipe(side);
  for (std::size_t i = 0; i < DigestPipe::kMaxBuffers; ++i) {
    auto buffer = pipe.acquire();
    std::memset(buffer.get(), 0, DigestPipe::kBufferBytes);
    pipe.submit(*hasher, std::move(buffer), DigestPipe::kBufferBytes);
  }
  side.drain();
}

}  // namespace
}  // namespace layerboot::layer
