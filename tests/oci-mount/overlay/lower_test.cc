#include "oci-mount/overlay/lower.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/oci-mount/tree/built_tree.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::overlay {
namespace {

/// The data of the files below, as the first member of a tar: it begins at 512.
std::string data_tar() { return test::TarBuilder().file("data", "0123456789tail!").finish(); }

/// "sparse": 10 bytes of data, a hole, 5 bytes more at 5000, and a hole up to 6000.
std::unique_ptr<const tree::Tree> make_tree() {
  tree::FakeLayer layer("layer");
  layer.directory("dir");
  layer.file("empty");
  layer.symlink("link", "plain");
  layer.file("plain", 10, 512).mtime_sec = 1'700'000'000;
  auto& sparse = layer.file("sparse");
  sparse.size_bytes = 6000;
  sparse.extents = layer.extents({{0, 512, 10}, {5000, 522, 5}});
  layer.sort();
  const tree::LayerEntries* const layers[] = {&layer};
  return std::move(*tree::build_and_open(layers));
}

class LowerTest : public testing::Test {
 protected:
  tree::NodeId row(std::string_view name) const { return lower_.tree.lookup(tree::kRoot, name); }
  /// Through try_read, and read where that would wait.
  std::string read(tree::NodeId id, std::uint64_t offset, std::size_t count) {
    std::string bytes(count, '?');
    const iovec into{bytes.data(), bytes.size()};
    auto got = lower_.try_read(id, offset, {&into, 1});
    if (got && *got == Lower::kWouldWait) {
      const auto waited = reactor_->block_on(lower_.read(*reactor_, id, offset, {&into, 1}));
      EXPECT_TRUE(waited);
      got = static_cast<std::int64_t>(waited.value_or(0));
    }
    EXPECT_TRUE(got);
    bytes.resize(static_cast<std::size_t>(got.value_or(0)));
    return bytes;
  }
  Result<std::uint64_t> seek(std::string_view name, std::uint64_t offset, int whence) {
    return lower_.seek(row(name), offset, whence);
  }

  test::ImageFixture image_{{data_tar()}};
  std::unique_ptr<const tree::Tree> tree_ = make_tree();
  Lower lower_{*tree_, image_.source->reader};
  std::unique_ptr<Reactor> reactor_ = *Reactor::create();
};

TEST_F(LowerTest, HolesReadAsZeros) {
  const tree::NodeId sparse = row("sparse");
  ASSERT_NE(sparse, tree::kNoNode);
  EXPECT_EQ(lower_.attr(sparse).size_bytes, 6000U);
  std::string expected(6000, '\0');
  expected.replace(0, 10, "0123456789").replace(5000, 5, "tail!");
  EXPECT_TRUE(read(sparse, 0, 6000) == expected);
  EXPECT_TRUE(read(sparse, 0, 100'000) == expected) << "short at the end";
  EXPECT_TRUE(read(sparse, 8, 20) == expected.substr(8, 20)) << "across an edge";
  EXPECT_TRUE(read(sparse, 4990, 20) == expected.substr(4990, 20));
  EXPECT_TRUE(read(sparse, 5999, 1) == std::string(1, '\0'));
  EXPECT_EQ(read(sparse, 6000, 10), "");
  EXPECT_EQ(read(sparse, UINT64_MAX, 10), "");
}

TEST_F(LowerTest, SeeksDataAndHoles) {
  EXPECT_EQ(seek("sparse", 0, SEEK_DATA).value_or(99), 0U);
  EXPECT_EQ(seek("sparse", 0, SEEK_HOLE).value_or(99), 10U);
  EXPECT_EQ(seek("sparse", 10, SEEK_DATA).value_or(99), 5000U);
  EXPECT_EQ(seek("sparse", 10, SEEK_HOLE).value_or(99), 10U);
  EXPECT_EQ(seek("sparse", 5001, SEEK_HOLE).value_or(99), 5005U);
  EXPECT_EQ(seek("sparse", 5005, SEEK_DATA).error().code, ENXIO);
  EXPECT_EQ(seek("sparse", 6000, SEEK_HOLE).error().code, ENXIO);
  EXPECT_EQ(seek("plain", 0, SEEK_HOLE).value_or(99), 10U);
  EXPECT_EQ(seek("empty", 0, SEEK_HOLE).error().code, ENXIO);
  EXPECT_EQ(seek("dir", 0, SEEK_DATA).error().code, EINVAL);
}

TEST_F(LowerTest, OnlyFilesAreRead) {
  char byte = 0;
  const iovec into{&byte, 1};
  for (const char* name : {"dir", "link"}) {
    const auto tried = lower_.try_read(row(name), 0, {&into, 1});
    EXPECT_EQ(tried.error().code, EINVAL);
    const auto waited = reactor_->block_on(lower_.read(*reactor_, row(name), 0, {&into, 1}));
    EXPECT_EQ(waited.error().code, EINVAL);
  }
  EXPECT_EQ(read(row("empty"), 0, 10), "");
}

TEST_F(LowerTest, GivesAttributesAsTheTreeHasThem) {
  const Attr plain = lower_.attr(row("plain"));
  EXPECT_EQ(plain.ino, row("plain"));
  EXPECT_EQ(plain.size_bytes, 10U);
  EXPECT_EQ(plain.mode, static_cast<std::uint32_t>(S_IFREG | 0644));
  EXPECT_EQ(plain.nlink, 1U);
  EXPECT_EQ(plain.mtime, (Time{1'700'000'000, 0}));
  EXPECT_TRUE(S_ISLNK(lower_.attr(row("link")).mode));
}

}  // namespace
}  // namespace layerboot::overlay
