#include "oci-mount/tree/tree_builder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::tree {
namespace {

namespace fs = std::filesystem;

class TreeBuilderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tree-builder-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    layer_.file("f");
  }
  void TearDown() override { fs::remove_all(dir_); }
  Result<std::unique_ptr<const Tree>> open() { return open_in(dir_); }
  Result<std::unique_ptr<const Tree>> open_in(const fs::path& dir) {
    return open_or_build_tree(key(), dir, [this] { return build_tree(std::span(&entries_, 1), key()); });
  }
  std::string key() const { return tree_key(std::span(&entries_, 1)); }
  fs::path path() const { return tree_path(dir_, key()); }

  fs::path dir_;
  FakeLayer layer_{"sha256:one"};
  const LayerEntries* entries_ = &layer_;
};

TEST_F(TreeBuilderTest, BuildsOnceAndThenOpens) {
  ASSERT_TRUE(open());
  const auto written = fs::last_write_time(path());
  const auto inode_before = [this] {
    struct stat st{};
    ::stat(path().c_str(), &st);
    return st.st_ino;
  }();
  ASSERT_TRUE(open());
  struct stat st{};
  ASSERT_EQ(::stat(path().c_str(), &st), 0);
  EXPECT_EQ(st.st_ino, inode_before);
  EXPECT_EQ(fs::last_write_time(path()), written);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 1);
}

TEST_F(TreeBuilderTest, AFileSaysWhatItIsOf) {
  ASSERT_TRUE(open());
  EXPECT_EQ(read_tree_key(path()).value_or("none"), key());
  fs::permissions(path(), fs::perms::owner_all);
  fs::resize_file(path(), fs::file_size(path()) / 2);
  EXPECT_FALSE(read_tree_key(path()));
  fs::resize_file(path(), 0);
  EXPECT_FALSE(read_tree_key(path()));
}

TEST_F(TreeBuilderTest, ATornFileIsBuiltAnew) {
  ASSERT_TRUE(open());
  const auto whole = fs::file_size(path());
  for (const std::uintmax_t size : {whole / 2, std::uintmax_t{1}, std::uintmax_t{0}}) {
    fs::permissions(path(), fs::perms::owner_all);
    fs::resize_file(path(), size);
    const auto tree = open();
    ASSERT_TRUE(tree) << tree.error().describe();
    EXPECT_NE(node_at(**tree, "f"), kNoNode);
    EXPECT_EQ(fs::file_size(path()), whole);
  }
}

TEST_F(TreeBuilderTest, OtherLayersHaveAnotherFile) {
  FakeLayer other("sha256:two");
  const LayerEntries* const both[] = {&layer_, &other};
  const LayerEntries* const swapped[] = {&other, &layer_};
  EXPECT_NE(tree_path(dir_, tree_key(both)), path());
  EXPECT_NE(tree_path(dir_, tree_key(both)), tree_path(dir_, tree_key(swapped)));
}

TEST_F(TreeBuilderTest, ARefusedImageLeavesNothingBehind) {
  layer_.hard_link("x", "missing");
  EXPECT_FALSE(open());
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(TreeBuilderTest, AMissingIndexDirectoryIsNamed) {
  const auto tree = open_in(dir_ / "nowhere");
  ASSERT_FALSE(tree);
  EXPECT_NE(tree.error().describe().find("nowhere"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::tree
