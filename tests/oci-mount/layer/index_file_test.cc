#include "oci-mount/layer/index_file.h"

#include <gtest/gtest.h>

#include <random>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/layer_index.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

class IndexFileTest : public testing::Test {
 protected:
  void SetUp() override {
    EntryTableBuilder builder;
    TarEntry entry;
    entry.path = "file";
    ASSERT_TRUE(builder.add(entry));
    const auto table = builder.finish();
    ASSERT_TRUE(table);
    CheckpointTableBuilder checkpoints;
    ASSERT_TRUE(checkpoints.add(0, 0, true, std::vector<std::byte>(24)));
    checkpoints.set_span_hash(1);
    ASSERT_TRUE(checkpoints.add(1000, 4000, false, {}));
    IndexHeader header;
    header.compression = static_cast<std::uint32_t>(store::Compression::kGzip);
    header.blob = identity_.record();
    header.blob_size_bytes = 500;
    header.stream_size_bytes = 1000;
    auto file = AtomicFile::create(path_);
    ASSERT_TRUE(file);
    ASSERT_TRUE(write_index(*file, header, checkpoints, *table, "/the/source"));
    ASSERT_TRUE(file->commit());
    bytes_ = test::read_text(path_);
  }
  Result<LayerIndex> open_with(const std::string& bytes) {
    test::write_text(path_, bytes);
    return LayerIndex::open(path_, identity_);
  }
  test::TempDir dir_;
  std::filesystem::path path_ = dir_ / "x.lidx";
  LayerIdentity identity_ = LayerIdentity::of_blob(*store::Digest::parse("sha256:" + std::string(64, 'a')));
  std::string bytes_;
};

TEST_F(IndexFileTest, ReadsWhatWasWritten) {
  const auto index = LayerIndex::open(path_, identity_);
  ASSERT_TRUE(index) << index.error().text;
  EXPECT_EQ(index->checkpoints().span_count(), 1U);
  EXPECT_EQ(index->file_size_bytes(), bytes_.size());
  EXPECT_EQ(index->load_entries()->entry(0).path, "file");
  const auto owner = read_index_owner(path_);
  ASSERT_TRUE(owner) << owner.error().text;
  EXPECT_EQ(owner->source, "/the/source");
  EXPECT_EQ(owner->identity, identity_.record());
}

TEST_F(IndexFileTest, SpilledWindowsMakeTheSameIndex) {
  auto scratch = AtomicFile::create(dir_ / "scratch");
  ASSERT_TRUE(scratch);
  CheckpointTableBuilder held;
  CheckpointTableBuilder spilling(&*scratch);
  const std::string windows = test::sample_bytes(3U << 20U, 4);
  constexpr std::size_t kWindow = 30'001;
  std::uint64_t at = 0;
  for (; (at + 1) * kWindow <= windows.size(); ++at) {
    const auto window = as_bytes(windows).subspan(at * kWindow, kWindow);
    for (CheckpointTableBuilder* builder : {&held, &spilling}) {
      ASSERT_TRUE(builder->add(at * 1000, at * 80, false, window));
      builder->set_span_hash(at);
    }
  }
  EXPECT_GT(scratch->size_bytes(), windows.size() - (1U << 20U));
  IndexHeader header;
  header.blob = identity_.record();
  const auto write = [&](std::string_view name, const CheckpointTableBuilder& builder, FileAppender* beside) {
    auto file = AtomicFile::create(dir_ / name);
    ASSERT_TRUE(file && write_index(*file, header, builder, BuiltEntryTable(), "", beside) && file->commit());
  };
  write("held", held, nullptr);
  write("spilled", spilling, &*scratch);
  EXPECT_TRUE(test::read_text(dir_ / "held") == test::read_text(dir_ / "spilled"));
}

TEST_F(IndexFileTest, LiesAsFormatMdSays) {
  EXPECT_EQ(bytes_.substr(0, 8), "LBLIDX\n\x1a");
  EXPECT_EQ(bytes_.substr(8, 8), std::string_view("\4\0\0\0\2\0\0\0", 8));
  EXPECT_EQ(bytes_[16], 1) << "gzip";
  EXPECT_EQ(bytes_[24], 1) << "sha256";
  EXPECT_EQ(bytes_.substr(32, 32), std::string(32, '\xaa'));
  EXPECT_EQ(bytes_[256 + 32], static_cast<char>(1000 & 0xff)) << "the second checkpoint's stream offset";
}

TEST_F(IndexFileTest, OfAnotherLayerOrVersionIsStale) {
  const auto other = LayerIdentity::of_blob(*store::Digest::parse("sha256:" + std::string(64, 'b')));
  EXPECT_EQ(LayerIndex::open(path_, other).error().code, ESTALE);
  for (const std::size_t version_at : {8U, 12U}) {
    std::string bytes = bytes_;
    bytes[version_at] = 99;
    EXPECT_EQ(open_with(bytes).error().code, ESTALE);
  }
}

TEST_F(IndexFileTest, EveryCutAndEveryFlippedByteIsNoticed) {
  for (std::size_t size = 0; size < bytes_.size(); ++size) {
    const auto parts = parse_index_file(as_bytes(bytes_).first(size));
    EXPECT_FALSE(parts) << size;
  }
  for (std::size_t at = 0; at < bytes_.size(); ++at) {
    alignas(8) std::vector<std::byte> bytes(as_bytes(bytes_).begin(), as_bytes(bytes_).end());
    bytes[at] ^= std::byte{0x10};
    const auto parts = parse_index_file(bytes);
    EXPECT_FALSE(parts) << at;
  }
  EXPECT_FALSE(open_with(bytes_ + "x"));
  EXPECT_FALSE(open_with(""));
  EXPECT_EQ(open_with("no index at all").error().code, EBADMSG);
}

}  // namespace
}  // namespace layerboot::layer
