// What SpanCompressor writes: read by the libraries' own decoders, and at any place without a window.
#include "oci-mount/layer/span_compressor.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <random>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/limits.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

std::string compressed(store::Compression compression, std::string_view text, unsigned threads = 2,
                       std::size_t step = 100'000, GzipCoder coder = GzipCoder::kFast) {
  WorkerPool workers(threads);
  std::string out;
  SpanCompressor compressor(
      compression, workers, threads,
      [&](std::span<const std::byte> bytes) {
        out += as_text(bytes);
        return Result<void>();
      },
      coder);
  for (std::size_t at = 0; at < text.size(); at += step)
    EXPECT_TRUE(compressor.push(as_bytes(text.substr(at, step))));
  EXPECT_TRUE(compressor.finish());
  return out;
}

/// By zlib, which checks the CRC and the size.
std::string gunzip(std::string_view bytes, std::size_t size) {
  std::string out(size + 1, '\0');
  z_stream stream{};
  EXPECT_EQ(::inflateInit2(&stream, 16 + MAX_WBITS), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::inflate(&stream, Z_FINISH), Z_STREAM_END);
  EXPECT_EQ(stream.avail_in, 0U) << "one member";
  out.resize(stream.total_out);
  ::inflateEnd(&stream);
  return out;
}

std::string unzstd(std::string_view bytes, std::size_t size) {
  std::string out(size + 1, '\0');
  const std::size_t got = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
  EXPECT_EQ(ZSTD_isError(got), 0U) << ZSTD_getErrorName(got);
  out.resize(got);
  return out;
}

class SpanCompressorTest : public testing::TestWithParam<std::size_t> {};

TEST_P(SpanCompressorTest, ItsOwnDecoderReadsIt) {
  const std::string text = test::sample_bytes(GetParam(), 11);
  for (const GzipCoder coder : {GzipCoder::kFast, GzipCoder::kSame}) {
    const std::string gzip = compressed(store::Compression::kGzip, text, 2, 100'000, coder);
    EXPECT_TRUE(gunzip(gzip, text.size()) == text);
  }
  EXPECT_TRUE(unzstd(compressed(store::Compression::kZstd, text), text.size()) == text);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SpanCompressorTest,
                         testing::Values(0U, 1U, kSpanTargetBytes - 1, kSpanTargetBytes, kSpanTargetBytes + 1,
                                         4 * kSpanTargetBytes, 3'000'001U));

TEST(SpanCompressorBytesTest, AreTheSameHoweverManyThreadsThereAreAndHoweverItIsPushed) {
  const std::string text = test::sample_bytes(2'500'000, 12);
  for (const auto compression : {store::Compression::kGzip, store::Compression::kZstd}) {
    const std::string once = compressed(compression, text, 1, text.size());
    EXPECT_TRUE(once == compressed(compression, text, 4, 333));
    EXPECT_TRUE(once == compressed(compression, text, 0, 777'777)) << "without a thread";
  }
}

/// 16 bits each, so that they are a distance's in whatever member they come to be.
[[gnu::noinline]] void fill_stack(std::uint16_t value) {
  std::array<volatile std::uint16_t, 1U << 17> filled;
  for (auto& one : filled) one = value;
}

TEST(SpanCompressorBytesTest, DoNotDependOnWhatTheStackHeld) {
  // What repeats is farther back than 2⁹ bytes.
  const std::string piece = test::sample_bytes(5'000, 15);
  std::string text;
  for (int i = 0; i < 20; ++i) text += piece;
  fill_stack(0);
  const std::string once = compressed(store::Compression::kGzip, text, 0);
  for (const unsigned other : {1U, 9U, 12U, 0xffffU}) {
    fill_stack(static_cast<std::uint16_t>(other));
    EXPECT_TRUE(once == compressed(store::Compression::kGzip, text, 0)) << other;
  }
}

/// Nothing to find, and nothing but zeros: what a piece takes at most, and at least.
TEST(SpanCompressorBytesTest, WhatCannotBeCompressedAndWhatIsNothingElse) {
  std::string noise(3 * kSpanTargetBytes + 7, '\0');
  std::mt19937_64 random(14);
  for (char& byte : noise) byte = static_cast<char>(random());
  const std::string zeros(5 * kSpanTargetBytes, '\0');
  for (const GzipCoder coder : {GzipCoder::kFast, GzipCoder::kSame}) {
    const std::string large = compressed(store::Compression::kGzip, noise, 2, 100'000, coder);
    EXPECT_LT(large.size(), noise.size() + noise.size() / 500);
    EXPECT_TRUE(gunzip(large, noise.size()) == noise);
    const std::string small = compressed(store::Compression::kGzip, zeros, 2, 100'000, coder);
    EXPECT_LT(small.size(), zeros.size() / 100);
    EXPECT_TRUE(gunzip(small, zeros.size()) == zeros);
  }
}

TEST(SpanCompressorBytesTest, AnErrorOfTheReaderEndsIt) {
  WorkerPool workers(2);
  SpanCompressor compressor(store::Compression::kGzip, workers, 2,
                            [](std::span<const std::byte>) -> Result<void> { return fail(ENOSPC); });
  const std::string text(1'000'000, 'x');
  const auto pushed = compressor.push(as_bytes(text));
  EXPECT_FALSE(pushed);
}

/// The layer's index: spans of one piece each, and no window.
TEST(SpanCompressorBytesTest, ALayerHasSpansThatStandAlone) {
  const test::TempDir dir;
  const std::string tar = test::TarBuilder().file("a", test::sample_bytes(3'000'000, 13)).finish();
  const std::size_t pieces = (tar.size() + kSpanTargetBytes - 1) / kSpanTargetBytes;
  constexpr std::array kWays = {std::pair(store::Compression::kGzip, GzipCoder::kFast),
                                std::pair(store::Compression::kGzip, GzipCoder::kSame),
                                std::pair(store::Compression::kZstd, GzipCoder::kFast)};
  for (const auto& [compression, coder] : kWays) {
    const std::string blob = compressed(compression, tar, 2, 100'000, coder);
    const auto path = dir / test::sha256_text(blob);
    test::write_text(path, blob);
    store::ImageLayer layer;
    layer.compression = compression;
    layer.blob = *store::digest_of(store::HashAlgorithm::kSha256, as_bytes(blob));
    layer.diff_id = *store::digest_of(store::HashAlgorithm::kSha256, as_bytes(tar));
    layer.size_bytes = blob.size();
    layer.path = path;
    const auto opened = open_layer(layer, {.index_dir = dir.path()});
    ASSERT_TRUE(opened) << opened.error().describe();
    const LayerIndex& index = (*opened)->index();
    ASSERT_EQ(index.checkpoints().span_count(), pieces);
    for (std::uint32_t i = 0; i < pieces; ++i) {
      const SpanInfo span = index.checkpoints().span(i);
      EXPECT_EQ(span.stream_offset, i * kSpanTargetBytes);
      EXPECT_TRUE(span.packed_window.empty()) << i;
    }
    EXPECT_EQ(index.recut_size_bytes(), 0U);
  }
}

}  // namespace
}  // namespace layerboot::layer
