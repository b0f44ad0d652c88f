// The merge rules but for hard links, one test for each row of the table in FORMAT.md.
#include "oci-mount/tree/merge.h"

#include "tests/oci-mount/tree/merge_fixture.h"

namespace layerboot::tree {
namespace {

using layer::EntryType;

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

TEST_F(MergeTest, OverlayfsWhiteoutDevicesAreLeftOut) {
  layer().file("a");
  FakeLayer& upper = layer();
  upper.add(EntryType::kCharDevice, "a");
  upper.add(EntryType::kCharDevice, "null").rdev_major = 1;
  merged();
  EXPECT_TRUE(S_ISREG(at("a").mode));
  EXPECT_TRUE(S_ISCHR(at("null").mode));
}

TEST_F(MergeTest, AGuestsOwnDeviceZeroIsADevice) {
  layer().file("a");
  FakeLayer& upper = layer();
  upper.whiteout("a");
  upper.add(EntryType::kCharDevice, "a").xattrs = {{"trusted.overlay.layerboot.char-0-0", "y"}};
  upper.own_hard_link("b", "a");
  merged();
  EXPECT_TRUE(S_ISCHR(at("a").mode));
  EXPECT_TRUE(S_ISCHR(at("b").mode));
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
