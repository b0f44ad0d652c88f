#include "oci-mount/store/stream_decoder.h"

#include <gtest/gtest.h>
#include <lzma.h>

#include <cstring>
#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"

namespace layerboot::store {
namespace {

std::string packed(Compression compression, std::string_view text) {
  switch (compression) {
    case Compression::kGzip:
      return test::gzip(text);
    case Compression::kZstd:
      return test::zstd(text);
    case Compression::kXz:
      return test::xz(text);
    case Compression::kBzip2:
      return test::bzip2(text);
    case Compression::kNone:
      break;
  }
  return std::string(text);
}

/// Gives it in pieces of `in_bytes`, and takes it in pieces of `out_bytes`.
Result<std::string> decode(Compression compression, std::string_view stream, std::size_t in_bytes = 1U << 20U,
                           std::size_t out_bytes = 1U << 16U) {
  LB_ASSIGN(const auto decoder, StreamDecoder::create(compression));
  std::string text;
  std::vector<std::byte> out(out_bytes);
  for (std::size_t at = 0; at < stream.size(); at += in_bytes) {
    LB_TRY(decoder->decode_all(
        as_bytes(stream.substr(at, in_bytes)), [&] { return std::span(out); },
        [&](std::size_t size_bytes) -> Result<void> {
          text += as_text(std::span(out).first(size_bytes));
          return {};
        }));
  }
  LB_TRY(decoder->finish());
  return text;
}

class StreamDecoderTest : public testing::TestWithParam<Compression> {
 protected:
  [[nodiscard]] std::string pack(std::string_view text) const { return packed(GetParam(), text); }
  void expect_error(std::string_view stream, std::string_view word) const {
    const auto text = decode(GetParam(), stream);
    ASSERT_FALSE(text) << word;
    EXPECT_EQ(text.error().code, EBADMSG);
    EXPECT_NE(text.error().text.find(word), std::string::npos) << text.error().text;
    EXPECT_NE(text.error().text.find(compression_name(GetParam())), std::string::npos) << text.error().text;
  }
};

INSTANTIATE_TEST_SUITE_P(Each, StreamDecoderTest,
                         testing::Values(Compression::kGzip, Compression::kZstd, Compression::kXz,
                                         Compression::kBzip2),
                         [](const auto& one) { return std::string(compression_name(one.param)); });

TEST_P(StreamDecoderTest, GivesWhatWasPacked) {
  const std::string text = test::sample_bytes(1'500'000, 1);
  const std::string stream = pack(text);
  EXPECT_TRUE(decode(GetParam(), stream) == text);
  EXPECT_TRUE(decode(GetParam(), stream, 1000, 77) == text);
  const std::string small = pack("small");
  EXPECT_EQ(decode(GetParam(), small, 1, 1), "small");
  EXPECT_EQ(decode(GetParam(), pack("")), "");
}

TEST_P(StreamDecoderTest, StreamsBehindEachOtherAreOne) {
  const std::string stream = pack("one ") + pack("") + pack("two");
  EXPECT_EQ(decode(GetParam(), stream), "one two");
  EXPECT_EQ(decode(GetParam(), stream, 1, 1), "one two");
}

TEST_P(StreamDecoderTest, WhatIsCutShortSaysSo) {
  const std::string stream = pack(test::sample_bytes(100'000, 2));
  for (const std::size_t missing : {std::size_t{1}, std::size_t{5}, stream.size() / 2, stream.size() - 3})
    expect_error(std::string_view(stream).substr(0, stream.size() - missing), "cut short");
  // A second stream that has only begun.
  expect_error(stream + stream.substr(0, stream.size() / 2), "cut short");
}

TEST_P(StreamDecoderTest, WhatIsDamagedSaysSo) {
  const std::string stream = pack(test::sample_bytes(100'000, 3));
  for (const std::size_t at : {stream.size() / 2, stream.size() - 4}) {
    std::string damaged = stream;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    expect_error(damaged, "are damaged");
  }
}

TEST(StreamDecoder, WhatIsBehindTheLastMemberOfGzipAndBzip2IsLeftOut) {
  for (const Compression compression : {Compression::kGzip, Compression::kBzip2}) {
    for (const std::string& behind : {std::string(1000, '\0'), std::string("B"), std::string("\x1f")}) {
      for (const std::size_t piece : {1U, 1U << 20U})
        EXPECT_EQ(decode(compression, packed(compression, "text") + behind, piece), "text");
    }
  }
}

TEST(StreamDecoder, WhatNeedsTooMuchMemoryIsRefused) {
  std::string stream = test::xz("text", 9);
  EXPECT_EQ(decode(Compression::kXz, stream), "text") << "as xz -9 makes it";
  // The same with a dictionary of 4 GiB, by the format's section 3.1 and 5.3.1.
  constexpr std::size_t kBlockHeader = 12;
  constexpr std::size_t kCrcBytes = 4;
  constexpr char kLargestDictionary = 40;
  const std::size_t filter = stream.find("\x21\x01", kBlockHeader);
  const std::size_t size = (static_cast<unsigned char>(stream[kBlockHeader]) + 1U) * 4U;
  ASSERT_LT(filter, kBlockHeader + size);
  stream[filter + 2] = kLargestDictionary;
  const std::uint32_t crc =
      ::lzma_crc32(reinterpret_cast<const std::uint8_t*>(stream.data()) + kBlockHeader, size - kCrcBytes, 0);
  std::memcpy(stream.data() + kBlockHeader + size - kCrcBytes, &crc, kCrcBytes);
  const auto text = decode(Compression::kXz, stream);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, E2BIG) << text.error().text;
  EXPECT_NE(text.error().text.find("limit of 134217728"), std::string::npos) << text.error().text;
}

TEST(StreamDecoder, ThereIsNoneOfAPlainStream) { EXPECT_FALSE(StreamDecoder::create(Compression::kNone)); }

}  // namespace
}  // namespace layerboot::store
