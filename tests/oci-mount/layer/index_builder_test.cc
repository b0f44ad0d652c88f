#include "oci-mount/layer/index_builder.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/layer_index.h"
#include "oci-mount/layer/limits.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::CountingBlob;
using test::TarBuilder;

store::Digest digest(std::string_view bytes) { return *store::Digest::parse(test::sha256_text(bytes)); }

class IndexBuilderTest : public testing::Test {
 protected:
  [[nodiscard]] static ExpectedLayer expect(std::string_view blob, std::string_view tar,
                                            store::Compression compression) {
    ExpectedLayer expected;
    expected.identity = LayerIdentity::of_blob(digest(blob));
    expected.compression = compression;
    expected.digests = ExpectedLayer::Digests{digest(blob), blob.size(), digest(tar)};
    return expected;
  }
  Result<LayerIndex> build(const store::Blob& blob, const ExpectedLayer& expected) {
    return build_index(blob, expected, path_, [this](std::uint64_t done) { progress_ = done; });
  }
  Result<LayerIndex> build_gzip(const std::string& stored) {
    return build(CountingBlob(stored, "layer X"), expect(blob_, tar_, store::Compression::kGzip));
  }
  void expect_failure(const Result<LayerIndex>& built, int code,
                      std::initializer_list<std::string_view> parts) {
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().code, code) << built.error().text;
    for (const auto part : parts)
      EXPECT_NE(built.error().text.find(part), std::string::npos) << built.error().text;
    EXPECT_EQ(built.error().text.find('\n'), std::string::npos);
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path())) << "something half-made was left behind";
  }

  test::TempDir dir_;
  std::filesystem::path path_ = dir_ / "x.lidx";
  std::string tar_ = TarBuilder()
                         .directory("d")
                         .file("d/big", test::sample_bytes(2'500'000, 1))
                         .symlink("d/s", "big")
                         .finish();
  std::string blob_ = test::gzip(tar_);
  std::uint64_t progress_ = 0;
};

TEST_F(IndexBuilderTest, IndexesAGzipLayer) {
  ASSERT_TRUE(build_gzip(blob_));
  EXPECT_EQ(progress_, blob_.size());
  const auto index = LayerIndex::open(path_, LayerIdentity::of_blob(digest(blob_)));
  ASSERT_TRUE(index) << index.error().text;
  EXPECT_EQ(index->stream_size_bytes(), tar_.size());
  EXPECT_EQ(index->blob_size_bytes(), blob_.size());
  EXPECT_EQ(index->compression(), store::Compression::kGzip);
  EXPECT_GT(index->checkpoints().span_count(), 4U);
  const auto entries = index->load_entries();
  ASSERT_TRUE(entries) << entries.error().text;
  ASSERT_EQ(entries->entry_count(), 3U);
  EXPECT_EQ(entries->entry(1).path, "d/big");
  EXPECT_EQ(entries->entry(1).extents[0].stream_offset, 1024U);
}

TEST_F(IndexBuilderTest, IndexesAPlainLayer) {
  ASSERT_TRUE(build(CountingBlob(tar_), expect(tar_, tar_, store::Compression::kNone)));
  const auto index = LayerIndex::open(path_, LayerIdentity::of_blob(digest(tar_)));
  ASSERT_TRUE(index);
  const CheckpointTable& spans = index->checkpoints();
  EXPECT_TRUE(spans.is_plain());
  ASSERT_EQ(spans.span_count(), (tar_.size() + kPlainSpanBytes - 1) / kPlainSpanBytes);
  for (std::uint32_t i = 0; i < spans.span_count(); ++i) {
    const SpanInfo span = spans.span(i);
    EXPECT_TRUE(check_span(span, as_bytes(tar_).subspan(span.stream_offset, span.size_bytes))) << i;
  }
  EXPECT_EQ(index->stream_size_bytes(), tar_.size());
}

TEST_F(IndexBuilderTest, DigestsMayBeOfTwoAlgorithms) {
  ExpectedLayer expected = expect(tar_, tar_, store::Compression::kNone);
  expected.digests->diff_id =
      *store::digest_of(store::HashAlgorithm::kSha512, std::as_bytes(std::span(tar_)));
  EXPECT_TRUE(build(CountingBlob(tar_), expected));
  expected.digests->diff_id = *store::digest_of(store::HashAlgorithm::kSha512, {});
  EXPECT_FALSE(build(CountingBlob(tar_), expected));
}

TEST_F(IndexBuilderTest, AFileWithoutDigestsIsTakenAsItIs) {
  ExpectedLayer expected;
  expected.identity = LayerIdentity::of_file({});
  EXPECT_TRUE(build(CountingBlob(tar_), expected));
  std::filesystem::remove(path_);
  EXPECT_TRUE(build(CountingBlob(blob_), expected)) << "also a compressed one";
  std::filesystem::remove(path_);
  expect_failure(build(CountingBlob(test::sample_bytes(10'000, 2), "file X"), expected), EBADMSG,
                 {"file X", "no tar"});
}

TEST_F(IndexBuilderTest, ABlobCutShort) {
  expect_failure(build_gzip(blob_.substr(0, blob_.size() - 1)), EBADMSG,
                 {"layer X has ", " bytes", "cut short", "fetch the image again"});
  expect_failure(build_gzip(""), EBADMSG, {"layer X has 0 of"});
}

TEST_F(IndexBuilderTest, ABlobThatShrinksWhileItIsRead) {
  CountingBlob blob(blob_, "layer X");
  blob.bytes().resize(blob_.size() / 2);
  expect_failure(build(blob, expect(blob_, tar_, store::Compression::kGzip)), EBADMSG,
                 {"layer X", "shorter"});
}

// Wherever the byte is, in what can still be decoded or not: the digest says that the blob is at fault.
TEST_F(IndexBuilderTest, ABlobWithOneFlippedByte) {
  for (const std::size_t at : {std::size_t{0}, std::size_t{3}, blob_.size() / 2, blob_.size() - 1}) {
    std::string damaged = blob_;
    damaged[at] ^= 1;
    expect_failure(build_gzip(damaged), EBADMSG, {"layer X is damaged", "fetch the image again"});
  }
}

TEST_F(IndexBuilderTest, AWrongDiffId) {
  expect_failure(
      build(CountingBlob(blob_, "layer X"), expect(blob_, "another tar", store::Compression::kGzip)), EBADMSG,
      {"layer X", "DiffID", "again"});
  expect_failure(build(CountingBlob(tar_, "layer X"), expect(tar_, "another tar", store::Compression::kNone)),
                 EBADMSG, {"DiffID"});
}

TEST_F(IndexBuilderTest, AWholeBlobThatHoldsNoTar) {
  const std::string text = test::sample_bytes(10'000, 2);
  const std::string stored = test::gzip(text);
  expect_failure(build(CountingBlob(stored, "layer X"), expect(stored, text, store::Compression::kGzip)),
                 EBADMSG, {"layer X is whole", "no tar"});
  const std::string bad = TarBuilder().file(".wh.", "").finish();
  expect_failure(build(CountingBlob(bad, "layer X"), expect(bad, bad, store::Compression::kNone)), EINVAL,
                 {"names nothing"});
}

TEST_F(IndexBuilderTest, HowALayerIsCompressedItSaysItself) {
  using enum store::Compression;
  std::string zstd(::ZSTD_compressBound(tar_.size()), '\0');
  zstd.resize(::ZSTD_compress(zstd.data(), zstd.size(), tar_.data(), tar_.size(), 1));
  const std::string xz_of_it = test::xz(tar_);
  for (const auto told : {kNone, kGzip, kZstd, kXz, kBzip2}) {
    EXPECT_TRUE(build(CountingBlob(tar_), expect(tar_, tar_, told)));
    EXPECT_TRUE(build(CountingBlob(blob_), expect(blob_, tar_, told)));
    EXPECT_TRUE(build(CountingBlob(zstd), expect(zstd, tar_, told)));
    EXPECT_TRUE(build(CountingBlob(xz_of_it), expect(xz_of_it, tar_, told)));
    EXPECT_TRUE(build(CountingBlob(""), expect("", "", told))) << "a layer of no bytes";
  }
  std::filesystem::remove(path_);
  std::filesystem::remove(recut_path(path_));
  const std::string rubbish = test::sample_bytes(10'000, 2);
  expect_failure(build(CountingBlob(rubbish, "layer X"), expect(rubbish, rubbish, kGzip)), EBADMSG,
                 {"layer X is whole", "its media type says gzip", "no tar"});
  const std::string lzip = "LZIP\x01" + rubbish;
  expect_failure(build(CountingBlob(lzip, "layer X"), expect(lzip, lzip, kGzip)), ENOTSUP,
                 {"layer X", "compressed with lzip", "gzip, zstd, xz and bzip2 are"});
  // Only its magic is xz's.
  const std::string xz = test::xz(tar_).substr(0, 12) + rubbish;
  expect_failure(build(CountingBlob(xz, "layer X"), expect(xz, xz, kGzip)), EBADMSG,
                 {"layer X is whole, but can't be served", "its xz data are damaged"});
  EXPECT_FALSE(std::filesystem::exists(path_) || std::filesystem::exists(recut_path(path_)));
}

TEST_F(IndexBuilderTest, ZstdInSmallFramesIsReadAsItIsAndInALargeOneRecut) {
  for (const bool large : {false, true}) {
    const std::string tar = TarBuilder().file("f", test::sample_bytes(6'000'000, 2)).finish();
    std::string blob;
    for (std::size_t at = 0; at < tar.size(); at += 1'000'000) {
      const auto piece = std::string_view(tar).substr(at, large ? tar.size() : 1'000'000);
      std::string packed(::ZSTD_compressBound(piece.size()), '\0');
      packed.resize(::ZSTD_compress(packed.data(), packed.size(), piece.data(), piece.size(), 1));
      blob += packed;
      if (large) break;
    }
    const auto built = build(CountingBlob(blob, "layer X"), expect(blob, tar, store::Compression::kZstd));
    ASSERT_TRUE(built) << built.error().text;
    const auto index = LayerIndex::open(path_, LayerIdentity::of_blob(digest(blob)));
    ASSERT_TRUE(index) << index.error().text;
    EXPECT_EQ(index->stream_size_bytes(), tar.size());
    EXPECT_GE(index->checkpoints().span_count(), 6U);
    EXPECT_EQ(std::filesystem::exists(recut_path(path_)), large);
    if (large) {
      EXPECT_EQ(std::filesystem::file_size(recut_path(path_)), index->recut_size_bytes());
    }
    EXPECT_EQ(progress_, blob.size());
  }
}

TEST_F(IndexBuilderTest, ADamagedZstdLayerLeavesNothing) {
  const std::string tar = TarBuilder().file("f", test::sample_bytes(6'000'000, 2)).finish();
  std::string blob(::ZSTD_compressBound(tar.size()), '\0');
  blob.resize(::ZSTD_compress(blob.data(), blob.size(), tar.data(), tar.size(), 1));
  const auto expected = expect(blob, tar, store::Compression::kZstd);
  blob[blob.size() - 1000] = static_cast<char>(blob[blob.size() - 1000] ^ 1);
  expect_failure(build(CountingBlob(blob, "layer X"), expected), EBADMSG, {"layer X is damaged"});
  expect_failure(build(CountingBlob(blob, "layer X"), expect(blob, tar, store::Compression::kZstd)), EBADMSG,
                 {"layer X is whole", "zstd"});
}

TEST_F(IndexBuilderTest, AnIndexDirectoryThatCannotBeWritten) {
  path_ = dir_ / "missing/x.lidx";
  expect_failure(build_gzip(blob_), ENOENT, {"missing"});
}

}  // namespace
}  // namespace layerboot::layer
