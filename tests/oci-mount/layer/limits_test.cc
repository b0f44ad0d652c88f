// What a layer may hold at most: each error names the limit it stands for.
#include "oci-mount/layer/limits.h"

#include <gtest/gtest.h>

#include <random>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/index_builder.h"
#include "oci-mount/layer/index_file.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/tar_scanner.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::TarBuilder;
using test::TarMember;

void expect_names(const Error& error, std::string_view limit) {
  EXPECT_NE(error.text.find(limit), std::string::npos) << error.text;
}

void expect_refused(const std::string& tar, std::string_view limit) {
  TarScanner scanner([](const TarEntry&) -> Result<void> { return {}; });
  auto scanned = scanner.push(as_bytes(tar));
  if (scanned) scanned = scanner.finish();
  ASSERT_FALSE(scanned) << limit;
  expect_names(scanned.error(), limit);
}

ExpectedLayer expected_of(std::string_view blob, std::string_view stream, store::Compression compression) {
  const auto blob_digest = *store::Digest::parse(test::sha256_text(blob));
  const auto diff_id = *store::Digest::parse(test::sha256_text(stream));
  ExpectedLayer expected;
  expected.identity = LayerIdentity::of_blob(blob_digest);
  expected.compression = compression;
  expected.digests = ExpectedLayer::Digests{blob_digest, blob.size(), diff_id};
  return expected;
}

TEST(LayerLimits, OfATarsEntries) {
  expect_refused(TarBuilder().file(std::string(kMaxNameBytes + 1, 'n'), "").finish(),
                 str_cat("limit of ", kMaxNameBytes));
  std::string path;
  while (path.size() <= kMaxPathBytes) path += std::string(200, 'p') + "/";
  expect_refused(TarBuilder().file(path + "f", "").finish(), str_cat("limit of ", kMaxPathBytes));
  std::string deep;
  for (std::size_t i = 0; i <= kMaxPathDepth; ++i) deep += "d/";
  expect_refused(TarBuilder().file(deep + "f", "").finish(), str_cat("limit of ", kMaxPathDepth));
  expect_refused(TarBuilder().symlink("s", std::string(kMaxSymlinkBytes + 1, 't')).finish(),
                 str_cat(kMaxSymlinkBytes, " are the limit"));
  TarMember xattrs;
  xattrs.name = "f";
  xattrs.pax = {{"SCHILY.xattr.user.a", std::string(kMaxXattrBytes, 'v')}};
  expect_refused(TarBuilder().add(xattrs).finish(), str_cat("limit of ", kMaxXattrBytes));
  TarMember large;
  large.name = "f";
  large.pax = {{"size", std::to_string(kMaxStreamBytes + 1)}};
  expect_refused(TarBuilder().add(large).finish(), str_cat("limit is ", kMaxStreamBytes));
  const EntryTable::Shape entries{kMaxEntries + 1ULL, 0, 0, 0};
  EXPECT_NE(entries.size_bytes().error().text.find(str_cat("limit of ", kMaxEntries)), std::string::npos);
}

/// A zstd frame of 4 MiB of zeroes, in blocks that repeat one byte.
std::string frame_of_zeroes() {
  std::string frame("\x28\xb5\x2f\xfd\x00\x38", 6);  // no sizes, a window of 128 KiB
  constexpr std::uint32_t kBlockBytes = 128U << 10U;
  constexpr int kBlocks = 32;
  for (int i = 0; i < kBlocks; ++i) {
    const std::uint32_t header = (i + 1 == kBlocks ? 1U : 0U) | 1U << 1U | kBlockBytes << 3U;
    for (const unsigned shift : {0U, 8U, 16U}) frame += static_cast<char>(header >> shift);
    frame += '\0';
  }
  return frame;
}

TEST(LayerLimits, OfTheCompressionRatio) {
  const test::TempDir dir;
  const std::string frame = frame_of_zeroes();
  std::string blob;
  for (std::uint64_t at = 0; at <= kCompressionRatioFreeBytes; at += 4U << 20U) blob += frame;
  const auto built =
      build_index(test::CountingBlob(blob, "layer X"), expected_of(blob, "", store::Compression::kZstd),
                  dir / "x.lidx", [](std::uint64_t) {});
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, E2BIG);
  expect_names(built.error(), str_cat("more than ", kMaxCompressionRatio, " times its size, the limit"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

// What repeats itself in short pieces from all over the last 32 KiB, of bytes that don't pack.
TEST(LayerLimits, OfTheWindowsShare) {
  const test::TempDir dir;
  std::mt19937_64 random(7);
  std::string text(kWindowBytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  while (text.size() < 6'000'000) {
    const std::size_t from = text.size() - kWindowBytes + random() % (kWindowBytes - 300);
    text += text.substr(from, 6);
  }
  const std::string tar = TarBuilder().file("f", text).finish();
  const std::string blob = test::gzip(tar);
  const auto expected = expected_of(blob, tar, store::Compression::kGzip);
  const auto path = dir / "x.lidx";
  const auto built = build_index(test::CountingBlob(blob), expected, path, [](std::uint64_t) {});
  ASSERT_TRUE(built) << built.error().text;
  const auto index = LayerIndex::open(path, expected.identity);
  ASSERT_TRUE(index) << index.error().text;
  const CheckpointTable& table = index->checkpoints();
  std::uint64_t windows_bytes = 0;
  for (std::uint32_t i = 0; i < table.span_count(); ++i) windows_bytes += table.span(i).packed_window.size();
  EXPECT_LE(windows_bytes, tar.size() / kMinStreamBytesPerWindowByte + kWindowsFreeBytes);
  ASSERT_GE(table.span_count(), 2U);
  EXPECT_GE(table.span(0).size_bytes, 2 * kSpanTargetBytes) << "this text tries nothing";
  EXPECT_LE(table.span(0).size_bytes, 2 * kWidestSpanTargetBytes);
}

/// A layer that an index of it calls this large: no test can unpack as much.
store::ImageLayer claimed_layer(const test::TempDir& dir, std::uint64_t size_bytes, std::string_view name) {
  store::ImageLayer layer;
  layer.blob = *store::Digest::parse(test::sha256_text(name));
  layer.diff_id = layer.blob;
  layer.size_bytes = size_bytes;
  layer.path = dir / std::string(name);
  test::write_text(layer.path, "");
  std::filesystem::resize_file(layer.path, size_bytes);
  const auto identity = LayerIdentity::of_blob(layer.blob);
  IndexHeader header;
  header.blob = identity.record();
  header.diff_id = identity.record();
  header.blob_size_bytes = size_bytes;
  header.stream_size_bytes = size_bytes;
  CheckpointTableBuilder spans;
  for (std::uint64_t at = 0; at < size_bytes; at += kPlainSpanBytes) EXPECT_TRUE(spans.add_plain(at));
  EXPECT_TRUE(spans.add_plain(size_bytes));
  auto file = AtomicFile::create(dir / identity.index_file_name());
  EXPECT_TRUE(file && write_index(*file, header, spans, BuiltEntryTable(), "") && file->commit());
  return layer;
}

TEST(LayerLimits, OfAnImage) {
  const test::TempDir dir;
  store::Image image;
  image.reference = "oci:huge";
  const std::uint64_t layer_bytes = kMaxImageBytes / 4;
  for (const char* name : {"a", "b", "c", "d"}) image.layers.push_back(claimed_layer(dir, layer_bytes, name));
  const auto most = open_layers(image, {}, {.index_dir = dir.path()});
  EXPECT_TRUE(most) << most.error().text;
  image.layers.push_back(claimed_layer(dir, 512, "e"));
  const auto more = open_layers(image, {}, {.index_dir = dir.path()});
  ASSERT_FALSE(more);
  expect_names(more.error(), "oci:huge");
  expect_names(more.error(), str_cat("limit of ", kMaxImageBytes));
}

TEST(LayerLimits, OfMembersWithoutAByte) {
  const test::TempDir dir;
  const std::string member = test::gzip("");
  std::string blob;
  for (std::uint32_t i = 0; i <= kMaxEmptyMembers + 1; ++i) blob += member;
  const auto built = build_index(test::CountingBlob(blob), expected_of(blob, "", store::Compression::kGzip),
                                 dir / "x.lidx", [](std::uint64_t) {});
  ASSERT_FALSE(built);
  expect_names(built.error(), str_cat("more than ", kMaxEmptyMembers, " gzip members without a byte"));
}

}  // namespace
}  // namespace layerboot::layer
