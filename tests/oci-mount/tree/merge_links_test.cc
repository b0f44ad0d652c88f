// The merge rules for hard links, as merge_test.cc.
#include "oci-mount/tree/merge.h"

#include "tests/oci-mount/tree/merge_fixture.h"

namespace layerboot::tree {
namespace {

using layer::EntryType;

TEST_F(MergeTest, HardLinkToALowerLayerSharesTheNode) {
  layer().file("a", 100).uid = 9;
  layer().hard_link("z", "a");
  merged();
  EXPECT_EQ(node_at(*tree_, "a"), node_at(*tree_, "z"));
  EXPECT_EQ(at("a").nlink, 2U);
  const auto links = tree_->links(node_at(*tree_, "a"));
  ASSERT_EQ(links.size(), 2U);
  EXPECT_EQ(tree_->name(links[0]), "a");
  EXPECT_EQ(tree_->name(links[1]), "z");
}

TEST_F(MergeTest, HardLinkChainsInAnyOrder) {
  FakeLayer& one = layer();
  one.hard_link("a", "b");
  one.hard_link("b", "c");
  one.symlink("c", "anywhere");
  merged();
  EXPECT_EQ(node_at(*tree_, "a"), node_at(*tree_, "c"));
  EXPECT_EQ(node_at(*tree_, "b"), node_at(*tree_, "c"));
  EXPECT_EQ(at("c").nlink, 3U);
}

TEST_F(MergeTest, AHardLinkToALowerFileIsBoundToItThoughTheLayerReplacesOrHidesIt) {
  FakeLayer& lower = layer();
  lower.file("a", 1);
  lower.file("b", 1);
  lower.file("d/c", 1);
  FakeLayer& upper = layer();
  upper.hard_link("x", "a");
  upper.file("a", 22);
  upper.hard_link("y", "b");
  upper.whiteout("b");
  upper.hard_link("z", "d/c");
  upper.opaque("d");
  merged();
  EXPECT_EQ(at("x").size_bytes, 1U);
  EXPECT_EQ(at("x").nlink, 1U);
  EXPECT_EQ(at("a").size_bytes, 22U);
  EXPECT_EQ(at("y").nlink, 1U);
  EXPECT_FALSE(has("b"));
  EXPECT_EQ(at("z").nlink, 1U);
  EXPECT_FALSE(has("d/c"));
}

TEST_F(MergeTest, AHardLinkOfItsOwnLayerIsToTheNewFileNotToTheLowerOne) {
  layer().file("a", 1);
  FakeLayer& upper = layer();
  upper.file("a", 22);
  upper.own_hard_link("x", "a");
  merged();
  EXPECT_EQ(node_at(*tree_, "a"), node_at(*tree_, "x"));
  EXPECT_EQ(at("x").size_bytes, 22U);
}

TEST_F(MergeTest, AHardLinksTargetIsFoundThroughSymlinks) {
  FakeLayer& lower = layer();
  lower.directory("usr/lib");
  lower.file("usr/lib/base");
  lower.symlink("usr/lib/s", "base");
  lower.symlink("lib", "/usr/lib");
  lower.symlink("up", "lib/../..//./lib");
  FakeLayer& upper = layer();
  upper.hard_link("h", "lib/base");
  upper.hard_link("i", "up/base");
  upper.hard_link("s", "lib/s");
  merged();
  EXPECT_EQ(node_at(*tree_, "h"), node_at(*tree_, "usr/lib/base"));
  EXPECT_EQ(node_at(*tree_, "i"), node_at(*tree_, "usr/lib/base"));
  EXPECT_EQ(at("h").nlink, 3U);
  EXPECT_TRUE(S_ISLNK(at("s").mode)) << "the last part is not followed";
  EXPECT_EQ(node_at(*tree_, "s"), node_at(*tree_, "usr/lib/s"));
  layer().file("usr/lib/new");
  layers_.back()->hard_link("n", "lib/new");
  merged();
  EXPECT_EQ(node_at(*tree_, "n"), node_at(*tree_, "usr/lib/new")) << "a lower symlink to an own file";
}

TEST_F(MergeTest, SymlinksInACircleLeadAHardLinkNowhere) {
  FakeLayer& lower = layer();
  lower.symlink("a", "b");
  lower.symlink("b", "a");
  layer().hard_link("h", "a/x");
  EXPECT_NE(refused().find("does not exist"), std::string::npos);
}

TEST_F(MergeTest, LinkCountFollowsTheMergedView) {
  FakeLayer& lower = layer();
  lower.file("a");
  lower.hard_link("b", "a");
  layer().file("b");
  merged();
  EXPECT_EQ(at("a").nlink, 1U);
  EXPECT_TRUE(tree_->links(node_at(*tree_, "a")).empty());
  EXPECT_NE(node_at(*tree_, "a"), node_at(*tree_, "b"));
}

TEST_F(MergeTest, HardLinksThatLeadNowhereAreRefused) {
  layer().hard_link("x", "missing");
  const std::string error = refused();
  EXPECT_NE(error.find("layer 0 (layer-0): x: a hard link to missing"), std::string::npos) << error;
}

TEST_F(MergeTest, HardLinksInACircleAreRefused) {
  FakeLayer& one = layer();
  one.hard_link("x", "y");
  one.hard_link("y", "x");
  EXPECT_NE(refused().find("back to itself"), std::string::npos);
}

TEST_F(MergeTest, HardLinkToADirectoryIsRefused) {
  FakeLayer& one = layer();
  one.directory("d");
  one.hard_link("x", "d");
  EXPECT_NE(refused().find("directory d"), std::string::npos);
}

TEST_F(MergeTest, HardLinkTargetsWithDotsAreRefused) {
  FakeLayer& one = layer();
  one.file("a");
  one.hard_link("x", "../a");
  EXPECT_NE(refused().find("hard link"), std::string::npos);
}

TEST_F(MergeTest, HardLinksToWhatIsLeftOutAreLeftOut) {
  FakeLayer& one = layer();
  one.add(EntryType::kCharDevice, "a");
  one.own_hard_link("b", "a");
  one.file("c");
  merged();
  EXPECT_TRUE(has("c"));
  EXPECT_FALSE(has("b"));
}

TEST_F(MergeTest, EntriesBelowAHardLinkAreRefusedThoughItIsLeftOut) {
  FakeLayer& one = layer();
  one.add(EntryType::kCharDevice, "a");
  one.own_hard_link("b", "a");
  one.file("b/c");
  EXPECT_NE(refused().find("other entries"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::tree
