// Names that files of the image have lost: in this session, in former ones, and as one that ended in order
// left it.
#include "oci-mount/overlay/lost_names.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

class LostNamesTest : public PartsTest {
 protected:
  [[nodiscard]] LostNames& lost_names() { return parts->lost_names; }
  [[nodiscard]] std::uint32_t lost(std::string_view path) {
    const NodePtr node = parts->nodes.known(row(path));
    return node ? node->lost_names : 0;
  }
  [[nodiscard]] std::uint32_t nlink(std::string_view path) {
    const NodePtr node = parts->nodes.known(row(path));
    return node ? parts->objects.attr_of(*node)->nlink : lower.attr(row(path)).nlink;
  }
  /// As a start does it. Rows for which a copy was to be finished.
  std::vector<tree::NodeId> load_lost_names() {
    std::vector<tree::NodeId> to_finish;
    const auto loaded = lost_names().load([&](tree::NodeId row) -> Result<void> {
      to_finish.push_back(row);
      return {};
    });
    EXPECT_TRUE(loaded) << loaded.error().describe();
    return to_finish;
  }
};

TEST_F(LostNamesTest, EachLostNameIsOneLinkLess) {
  EXPECT_EQ(nlink("hard/a"), 3U);
  lost_names().lose(row("hard/a"));
  EXPECT_EQ(nlink("hard/a"), 2U);
  lost_names().lose(row("hard/a"));
  EXPECT_EQ(nlink("hard/a"), 1U);
  EXPECT_TRUE(parts->nodes.is_touched(row("hard/a"))) << "the tree's word is no longer right";
  EXPECT_EQ(parts->nodes.known(row("hard/a"))->standing, Standing::kLowerOnly);
}

TEST_F(LostNamesTest, AnObjectThatNobodyCanFindNeedsNoMemory) {
  lost_names().lose(row("big"));
  EXPECT_EQ(parts->nodes.known(row("big")), nullptr);
  parts->nodes.add_row_reference(row("sparse"));
  lost_names().lose(row("sparse"));
  ASSERT_NE(parts->nodes.known(row("sparse")), nullptr) << "the client holds it";
  EXPECT_EQ(nlink("sparse"), 0U);
}

TEST_F(LostNamesTest, WhatHasLostItsLastNameLeavesMemoryWithTheClient) {
  parts->nodes.add_row_reference(row("big"));
  lost_names().lose(row("big"));
  const NodePtr held = parts->nodes.known(row("big"));
  ASSERT_NE(held, nullptr);
  ASSERT_TRUE(parts->nodes.is_row_released(row("big"), 1));
  parts->objects.release_if_unused(held);
  EXPECT_EQ(parts->nodes.known(row("big")), nullptr);
  EXPECT_FALSE(parts->nodes.find(row("big"))) << "nor is it the image's again";
  for (int i = 0; i < 3; ++i) lost_names().lose(row("hard/a"));
  parts->objects.ask_for_room();
  EXPECT_EQ(parts->nodes.known(row("hard/a")), nullptr) << "nobody held it";
  EXPECT_TRUE(lost_names().all().empty());
}

TEST_F(LostNamesTest, ALostDirectoryIsGone) {
  parts->nodes.add_row_reference(row("only"));
  lost_names().lose(row("only"));
  EXPECT_TRUE(parts->nodes.known(row("only"))->is_removed());
  EXPECT_EQ(code_of(parts->nodes.find_directory(row("only"))), ENOENT);
  EXPECT_TRUE(lost_names().all().empty()) << "a whiteout tells it";
  EXPECT_EQ(nlink("only"), 0U);
}

TEST_F(LostNamesTest, WhatIsKnownOfACopyIsOld) {
  make("copy", S_IFREG | 0644);
  mark("copy", marks().origin, "/hard/a");
  const NodePtr copy = load("copy");
  ASSERT_TRUE(copy->known.valid);
  lost_names().lose(row("hard/a"));
  EXPECT_FALSE(copy->known.valid);
  EXPECT_EQ(copy->lost_names, 1U);
}

TEST_F(LostNamesTest, AStartFindsWhatWasTakenAway) {
  make("hard", S_IFDIR | 0755);
  make_whiteout("hard/b");
  EXPECT_EQ(load_lost_names(), std::vector<tree::NodeId>{row("hard/a")});
  EXPECT_EQ(nlink("hard/a"), 2U);
}

TEST_F(LostNamesTest, AndWhatWasReplaced) {
  make("hard", S_IFDIR | 0755);
  make("hard/a", S_IFREG | 0644);
  make_whiteout("hard2");
  EXPECT_EQ(load_lost_names().size(), 1U);
  EXPECT_EQ(nlink("hard/a"), 1U);
}

TEST_F(LostNamesTest, AnUntouchedUpperHasLostNone) {
  EXPECT_TRUE(load_lost_names().empty());
  make("hard", S_IFDIR | 0755);
  open();
  EXPECT_TRUE(load_lost_names().empty()) << "a copied directory shows what the image has";
  EXPECT_EQ(parts->nodes.known(row("hard/a")), nullptr);
}

TEST_F(LostNamesTest, AFileWithoutAnyNameIsNotKept) {
  make_whiteout("hard");
  make_whiteout("hard2");
  EXPECT_TRUE(load_lost_names().empty());
  EXPECT_EQ(parts->nodes.known(row("hard/a")), nullptr);
}

TEST_F(LostNamesTest, AnErrorOfTheCopyEndsTheSearch) {
  make("hard", S_IFDIR | 0755);
  make_whiteout("hard/b");
  const auto loaded = lost_names().load([](tree::NodeId) -> Result<void> { return fail(EIO); });
  EXPECT_EQ(code_of(loaded), EIO);
}

TEST_F(LostNamesTest, ACopyThatTheSearchFindsAnswersForItself) {
  make("hard", S_IFDIR | 0755);
  make("hard/a", S_IFREG | 0644);
  mark("hard/a", marks().origin, "/hard/a");
  const auto loaded = lost_names().load([this](tree::NodeId) -> Result<void> {
    EXPECT_NE(load("hard/a"), nullptr);
    return {};
  });
  ASSERT_TRUE(loaded);
  EXPECT_EQ(lost("hard/a"), 0U);
  EXPECT_TRUE(parts->nodes.known(row("hard/a"))->has_body());
}

TEST_F(LostNamesTest, TheNextSessionIsTold) {
  lost_names().lose(row("hard/a"));
  const auto all = lost_names().all();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].row, row("hard/a"));
  EXPECT_EQ(all[0].count, 1U);
  open();
  lost_names().recall(all);
  EXPECT_EQ(nlink("hard/a"), 2U);
  lost_names().recall(all);
  EXPECT_EQ(nlink("hard/a"), 2U) << "once";
}

TEST_F(LostNamesTest, OneThatEndedInOrderTellsThemByTheirPaths) {
  ASSERT_TRUE(
      lost_names().recall(parts->paths, {{.path = "/hard/a", .count = 2}, {.path = "/none", .count = 1}}));
  EXPECT_EQ(nlink("hard/a"), 1U);
}

TEST_F(LostNamesTest, WhatCanNotBeSoIsNotBelieved) {
  ASSERT_TRUE(lost_names().recall(parts->paths, {{.path = "/dir", .count = 1},
                                                 {.path = "/", .count = 1},
                                                 {.path = "/big", .count = 1},
                                                 {.path = "/hard/a", .count = 3}}));
  for (const char* path : {"dir", "big", "hard/a"}) EXPECT_EQ(parts->nodes.known(row(path)), nullptr) << path;
  EXPECT_TRUE(parts->nodes.known(kRootId)->has_body());
}

TEST_F(LostNamesTest, ButWhatIsKnownByThenAnswersForItself) {
  make("copy", S_IFREG | 0644);
  mark("copy", marks().origin, "/hard/a");
  const NodePtr copy = load("copy");
  ASSERT_TRUE(lost_names().recall(parts->paths, {{.path = "/hard/a", .count = 1}}));
  EXPECT_EQ(parts->nodes.known(row("hard/a")), copy);
}

TEST_F(LostNamesTest, NotOfWhatNobodyCanFind) {
  for (int i = 0; i < 3; ++i) lost_names().lose(row("hard/a"));
  parts->nodes.add_row_reference(row("sparse"));
  lost_names().lose(row("sparse"));
  EXPECT_TRUE(lost_names().all().empty());
}

TEST_F(LostNamesTest, ADirectoryIsShownWhereverItIs) {
  EXPECT_TRUE(*lost_names().is_shown(tree::kRoot));
  EXPECT_TRUE(*lost_names().is_shown(row("dir/sub")));
  make("dir", S_IFDIR | 0755);
  make_whiteout("dir/sub");
  make_whiteout("hard");
  make("only", S_IFDIR | 0755);
  mark("only", marks().opaque, "y");
  make("moved", S_IFDIR | 0755);
  mark("moved", marks().redirect, "/hard");
  open();
  EXPECT_TRUE(*lost_names().is_shown(row("dir"))) << "its copy";
  EXPECT_FALSE(*lost_names().is_shown(row("dir/sub")));
  EXPECT_FALSE(*lost_names().is_shown(row("only"))) << "another directory has its name";
  EXPECT_FALSE(*lost_names().is_shown(row("hard"))) << "nobody has met it yet";
  ASSERT_NE(load("moved"), nullptr);
  EXPECT_TRUE(*lost_names().is_shown(row("hard"))) << "renamed";
  parts->nodes.known(row("hard"))->standing = Standing::kGone;
  EXPECT_FALSE(*lost_names().is_shown(row("hard")));
}

}  // namespace
}  // namespace layerboot::overlay
