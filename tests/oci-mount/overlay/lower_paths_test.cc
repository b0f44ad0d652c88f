#include "oci-mount/overlay/lower_paths.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "oci-mount/base/files.h"
#include "tests/oci-mount/tree/built_tree.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

/// A chain of `depth` directories with names of `name_bytes`, and "file" in the last.
std::string deep_path(int depth, std::size_t name_bytes) {
  std::string path;
  for (int i = 0; i < depth; ++i) path += (i == 0 ? "" : "/") + std::string(name_bytes, 'd');
  return path;
}

class LowerPathsTest : public testing::Test {
 protected:
  LowerPathsTest() {
    layer_.directory("p");
    layer_.directory("p/old");
    layer_.file("p/old/x");
    for (const std::string* path : {&middle_, &deep_}) {
      for (std::size_t end = path->find('/'); end != std::string::npos; end = path->find('/', end + 1)) {
        layer_.directory(path->substr(0, end));
      }
      layer_.directory(*path);
      layer_.file(*path + "/file");
    }
    layer_.hard_link(deep_ + "/other", deep_ + "/file");
    layer_.sort();
    const tree::LayerEntries* const layers[] = {&layer_};
    tree_ = std::move(*tree::build_and_open(layers));
    file_ = *create_regular_at({dir_.get(), "file"}, 0600);
  }
  tree::NodeId row(std::string_view path) const { return tree::node_at(*tree_, path); }
  /// What the mark of `path` says on the host.
  std::string marked(const std::string& path) {
    const auto set = paths().set_mark({file_.get(), ""}, kMark, row(path));
    EXPECT_TRUE(set) << set.error().describe();
    return get_xattr_at({file_.get(), ""}, kMark)->value_or("none");
  }
  LowerPaths paths() { return {*tree_, memory_}; }

  static constexpr std::string_view kMark = "user.overlay.redirect";
  const std::string middle_ = "m/" + deep_path(3, 200);
  const std::string deep_ = "l/" + deep_path(16, 240);
  tree::FakeLayer layer_{"layer"};
  std::unique_ptr<const tree::Tree> tree_;
  MemoryBudget memory_;
  test::TempDir top_;
  UniqueFd dir_ = *open_path(top_.path(), O_RDONLY | O_DIRECTORY);
  UniqueFd file_;
};

TEST_F(LowerPathsTest, ShortOnesAreKeptInWords) {
  EXPECT_EQ(marked("p/old"), "/p/old");
  EXPECT_EQ(marked(middle_), "/" + middle_);
  EXPECT_EQ(paths().at("/p/old"), row("p/old"));
  EXPECT_EQ(paths().at("/p/none"), tree::kNoNode);
  EXPECT_EQ(paths().at("old"), tree::kNoNode);
}

TEST_F(LowerPathsTest, LongOnesByTheirDigest) {
  for (const std::string& path : {deep_, deep_ + "/file"}) {
    const std::string mark = marked(path);
    EXPECT_TRUE(mark.starts_with("sha256/")) << mark;
    EXPECT_EQ(mark.size(), 7U + 64);
    ASSERT_NE(row(path), tree::kNoNode);
    EXPECT_EQ(paths().at(mark), row(path));
  }
  EXPECT_EQ(paths().at("sha256/" + std::string(64, '0')), tree::kNoNode);
}

// ext4 keeps what does not fit the inode in one block.
TEST_F(LowerPathsTest, AndThoseThatTheHostHasNoRoomFor) {
  std::string rest(XATTR_SIZE_MAX, 'x');
  while (!rest.empty() && !set_xattr_at({file_.get(), ""}, "user.guest", rest, 0)) {
    rest.resize(rest.size() - std::min<std::size_t>(rest.size(), 256));
  }
  if (rest.size() == XATTR_SIZE_MAX) GTEST_SKIP() << "this host keeps any attribute";
  if (set_xattr_at({file_.get(), ""}, kMark, std::string(600, 'p'), 0)) GTEST_SKIP() << "there is room left";
  const std::string mark = marked(middle_);
  EXPECT_TRUE(mark.starts_with("sha256/")) << mark;
  EXPECT_EQ(paths().at(mark), row(middle_));
}

TEST_F(LowerPathsTest, AFileWithSeveralNamesIsFoundByItsFirst) {
  ASSERT_EQ(row(deep_ + "/other"), row(deep_ + "/file"));
  EXPECT_EQ(paths().at(marked(deep_ + "/other")), row(deep_ + "/file"));
}

TEST_F(LowerPathsTest, WhatIsNoDigestNamesNothing) {
  for (const char* mark : {"sha256/", "sha256/abc", "sha256/zzzzzzzzzzzzzzzz", "sha256/-000000000000000"}) {
    EXPECT_EQ(paths().at(mark), tree::kNoNode) << mark;
  }
  const std::string mark = marked(deep_);
  EXPECT_EQ(paths().at(mark.substr(0, mark.size() - 1)), tree::kNoNode) << "a part of one";
  EXPECT_EQ(paths().at(mark + "0"), tree::kNoNode);
}

TEST_F(LowerPathsTest, DigestsArePaidForOnceOneIsMet) {
  const std::string mark = marked(deep_);
  const auto before = memory_.used_bytes();
  {
    LowerPaths paths = this->paths();
    EXPECT_EQ(paths.at("/p/old"), row("p/old"));
    EXPECT_EQ(memory_.used_bytes(), before);
    EXPECT_EQ(paths.at(mark), row(deep_));
    const auto taken = memory_.used_bytes() - before;
    EXPECT_GE(taken, 16 * LowerPaths::kDigestedBytes) << "the deep chain has as many long paths";
    EXPECT_EQ(taken % LowerPaths::kDigestedBytes, 0U);
    EXPECT_EQ(paths.at(mark), row(deep_));
    EXPECT_EQ(memory_.used_bytes(), before + taken) << "once";
  }
  EXPECT_EQ(memory_.used_bytes(), before);
}

TEST_F(LowerPathsTest, AtTheMemoryLimitNothingIsSaidOfADigest) {
  const std::string mark = marked(deep_);
  LowerPaths paths = this->paths();
  std::uint64_t taken = 0;
  while (memory_.try_take(1U << 20U)) taken += 1U << 20U;
  while (memory_.try_take(1)) ++taken;
  EXPECT_EQ(paths.at(mark).error().code, ENOMEM) << "it must not be taken for a file that is lost";
  EXPECT_EQ(paths.named(tree::kNoNode, "name", mark).error().code, ENOMEM);
  EXPECT_EQ(paths.at("/p/old"), row("p/old"));
  memory_.give_back(taken);
  EXPECT_EQ(paths.at(mark), row(deep_));
}

TEST_F(LowerPathsTest, ALoneNameIsBesideTheObject) {
  EXPECT_EQ(paths().named(row("p"), "new", "old"), row("p/old"));
  EXPECT_EQ(paths().named(row("p"), "new", "/p/old/x"), row("p/old/x"));
  EXPECT_EQ(paths().named(row("p"), "old", std::nullopt), row("p/old"));
  EXPECT_EQ(paths().named(tree::kNoNode, "new", "old"), tree::kNoNode);
  EXPECT_EQ(paths().named(tree::kNoNode, "new", "/p/old"), row("p/old"));
}

}  // namespace
}  // namespace layerboot::overlay
