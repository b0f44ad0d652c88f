// The merge rules, one test for each row of the table in FORMAT.md.
#include "oci-mount/tree/merge.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::tree {
namespace {

using layer::EntryType;

class MergeTest : public testing::Test {
 protected:
  FakeLayer& layer() {
    layers_.push_back(std::make_unique<FakeLayer>(str_cat("layer-", layers_.size())));
    return *layers_.back();
  }
  const Tree& merged() {
    auto built = build_and_open(pointers(layers_));
    EXPECT_TRUE(built) << built.error().describe();
    tree_ = std::move(built).value();
    return *tree_;
  }
  std::string refused() {
    const auto built = build_and_open(pointers(layers_));
    EXPECT_FALSE(built);
    return built ? "" : built.error().describe();
  }
  [[nodiscard]] bool has(std::string_view path) const { return node_at(*tree_, path) != kNoNode; }
  [[nodiscard]] const NodeRecord& at(std::string_view path) const {
    const NodeId id = node_at(*tree_, path);
    EXPECT_NE(id, kNoNode) << path;
    return tree_->node(id == kNoNode ? kRoot : id);
  }

  std::vector<std::unique_ptr<FakeLayer>> layers_;
  std::unique_ptr<const Tree> tree_;
};

TEST_F(MergeTest, NoLayerAtAllGivesAnEmptyRoot) {
  EXPECT_EQ(merged().node_count(), 1U);
  EXPECT_EQ(at("").mode, S_IFDIR | 0755U);
  EXPECT_EQ(at("").nlink, 2U);
}

TEST_F(MergeTest, AnUpperFileReplacesALowerOne) {
  layer().file("a", 10).uid = 1;
  layer().file("a", 20, 512).uid = 2;
  merged();
  EXPECT_EQ(at("a").size_bytes, 20U);
  EXPECT_EQ(at("a").uid, 2U);
  const auto extents = tree_->extents(node_at(*tree_, "a"));
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].layer, 1U);
  EXPECT_EQ(extents[0].stream_offset, 512U);
}

TEST(MergeLimits, NodesOfAllLayersTogether) {
  FakeLayer lower("lower");
  FakeLayer upper("upper");
  lower.file("a", 1);
  upper.file("b", 1);
  Merge enough(3);  // the root is one
  EXPECT_TRUE(enough.add(lower));
  EXPECT_TRUE(enough.add(upper));
  Merge too_few(2);
  EXPECT_TRUE(too_few.add(lower));
  const auto refused = too_few.add(upper);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, E2BIG);
  EXPECT_NE(refused.error().describe().find("more than 2 files"), std::string::npos);
}

TEST_F(MergeTest, DirectoryOverDirectoryKeepsChildrenAndTakesAttributes) {
  FakeLayer& lower = layer();
  lower.directory("d", 0700);
  lower.file("d/old");
  FakeLayer& upper = layer();
  upper.directory("d", 0711).mtime_sec = 42;
  upper.file("d/new");
  merged();
  EXPECT_TRUE(has("d/old"));
  EXPECT_TRUE(has("d/new"));
  EXPECT_EQ(at("d").mode & 07777, 0711U);
  EXPECT_EQ(at("d").mtime_sec, 42);
}

TEST_F(MergeTest, FileOverDirectoryAndDirectoryOverFile) {
  FakeLayer& lower = layer();
  lower.directory("d");
  lower.file("d/x");
  lower.file("f");
  FakeLayer& upper = layer();
  upper.file("d");
  upper.directory("f");
  merged();
  EXPECT_TRUE(S_ISREG(at("d").mode));
  EXPECT_FALSE(has("d/x"));
  EXPECT_TRUE(S_ISDIR(at("f").mode));
  EXPECT_EQ(at("").nlink, 3U);
}

TEST_F(MergeTest, WhiteoutHidesOnlyWhatIsBelowItsLayer) {
  FakeLayer& lower = layer();
  lower.file("gone");
  lower.file("again");
  FakeLayer& upper = layer();
  upper.file("again").uid = 7;
  upper.whiteout("again");
  upper.whiteout("gone");
  upper.whiteout("never-was");
  merged();
  EXPECT_FALSE(has("gone"));
  EXPECT_FALSE(has("never-was"));
  EXPECT_EQ(at("again").uid, 7U);
}

TEST_F(MergeTest, OpaqueHidesLowerChildrenWhereverItStands) {
  FakeLayer& lower = layer();
  lower.directory("d", 0700);
  lower.file("d/old");
  FakeLayer& upper = layer();
  upper.file("d/new");
  upper.opaque("d");
  merged();
  EXPECT_FALSE(has("d/old"));
  EXPECT_TRUE(has("d/new"));
  EXPECT_EQ(at("d").mode & 07777, 0700U) << "an opaque mark alone changes no attributes";
}

TEST_F(MergeTest, OpaqueRootHidesAllBelow) {
  layer().file("old");
  FakeLayer& upper = layer();
  upper.opaque("");
  upper.file("new");
  merged();
  EXPECT_FALSE(has("old"));
  EXPECT_TRUE(has("new"));
}

TEST_F(MergeTest, WhiteoutOfADirectoryThatComesAgainIsOpaque) {
  FakeLayer& lower = layer();
  lower.directory("d", 0700);
  lower.file("d/old");
  FakeLayer& upper = layer();
  upper.whiteout("d");
  upper.file("d/new");
  merged();
  EXPECT_FALSE(has("d/old"));
  EXPECT_TRUE(has("d/new"));
  EXPECT_EQ(at("d").mode & 07777, 0755U);
}

TEST_F(MergeTest, ImplicitParentsTakeTheLowerDirectorysAttributesOrDefaults) {
  layer().directory("known", 0710);
  FakeLayer& upper = layer();
  upper.file("known/x");
  upper.file("un/known/x");
  merged();
  EXPECT_EQ(at("known").mode & 07777, 0710U);
  EXPECT_EQ(at("un/known").mode & 07777, 0755U);
  EXPECT_EQ(at("un").uid, 0U);
}

TEST_F(MergeTest, AnEntryThroughALowerSymlinkReplacesTheSymlink) {
  FakeLayer& lower = layer();
  lower.symlink("lib", "usr/lib");
  lower.file("usr/lib/base");
  FakeLayer& upper = layer();
  upper.file("lib/foo");
  merged();
  EXPECT_TRUE(S_ISDIR(at("lib").mode));
  EXPECT_TRUE(has("lib/foo"));
  EXPECT_TRUE(has("usr/lib/base"));
  EXPECT_FALSE(has("usr/lib/foo"));
}

TEST_F(MergeTest, AWhiteoutThroughALowerSymlinkReplacesTheSymlinkAndHidesNothing) {
  FakeLayer& lower = layer();
  lower.symlink("lib", "usr/lib");
  lower.file("usr/lib/base");
  layer().whiteout("lib/base");
  merged();
  EXPECT_TRUE(S_ISDIR(at("lib").mode));
  EXPECT_TRUE(has("usr/lib/base"));
}

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

TEST_F(MergeTest, OverlayfsWhiteoutDevicesAreLeftOut) {
  layer().file("a");
  FakeLayer& upper = layer();
  upper.add(EntryType::kCharDevice, "a");
  upper.add(EntryType::kCharDevice, "null").rdev_major = 1;
  merged();
  EXPECT_TRUE(S_ISREG(at("a").mode));
  EXPECT_TRUE(S_ISCHR(at("null").mode));
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

TEST_F(MergeTest, AMarkMakesItsDirectoryUnlessTheLayerSaysOtherwise) {
  FakeLayer& lower = layer();
  lower.directory("test/b");
  lower.file("test/test");
  lower.symlink("s", "elsewhere");
  lower.directory("o");
  FakeLayer& upper = layer();
  upper.whiteout("test");
  upper.whiteout("test/test");
  upper.whiteout("test/b/c");
  upper.symlink("s", "test");
  upper.whiteout("s/x");
  upper.whiteout("o");
  upper.opaque("o");
  upper.whiteout("new/x");
  merged();
  EXPECT_FALSE(has("test"));
  EXPECT_TRUE(S_ISLNK(at("s").mode));
  EXPECT_FALSE(has("o"));
  EXPECT_TRUE(S_ISDIR(at("new").mode));
}

TEST_F(MergeTest, MessagesHoldNothingThatATerminalActsOn) {
  layer().hard_link("h\x1b[31m", "no\x1b[31m");
  const std::string error = refused();
  EXPECT_EQ(error.find('\x1b'), std::string::npos) << error;
  EXPECT_NE(error.find("h\\033[31m"), std::string::npos) << error;
}

TEST_F(MergeTest, ARootThatIsNoDirectoryIsRefused) {
  layer().symlink("", "/etc");
  EXPECT_NE(refused().find("root of the layer is no directory"), std::string::npos);
}

TEST_F(MergeTest, AWhiteoutOfTheRootIsRefused) {
  layer().whiteout("");
  EXPECT_NE(refused().find("whiteout of the root"), std::string::npos);
}

TEST_F(MergeTest, EntriesBelowAFileOfTheSameLayerAreRefused) {
  FakeLayer& one = layer();
  one.file("a");
  one.file("a/b");
  EXPECT_NE(refused().find("same layer"), std::string::npos);
}

TEST_F(MergeTest, UncleanPathsAreRefused) {
  for (const std::string_view path : {"../escape", "/abs", "a//b", "a/."}) {
    layers_.clear();
    layer().file(path);
    EXPECT_NE(refused().find("layer 0"), std::string::npos) << path;
  }
}

TEST_F(MergeTest, TooManyLayersNameTheLimit) {
  for (std::uint32_t i = 0; i < 129; ++i) layer();
  EXPECT_NE(refused().find("128 layers"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::tree
