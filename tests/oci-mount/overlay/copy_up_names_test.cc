// A copy has all names that the image's object had, wherever they are by now, also where a crash came
// between.
#include <unistd.h>

#include <vector>

#include "oci-mount/overlay/copy_up.h"
#include "tests/oci-mount/overlay/copy_up_fixture.h"

namespace layerboot::overlay {
namespace {

TEST_F(CopyUpTest, AllNamesLeadToTheOneCopy) {
  const auto node = copy("hard/a", CopyUp::kAllData);
  ASSERT_TRUE(node);
  EXPECT_EQ(host("hard/a").st_nlink, 3U);
  EXPECT_EQ(host("hard/b").st_ino, host("hard/a").st_ino);
  EXPECT_EQ(host("hard2/c").st_ino, host("hard/a").st_ino);
  EXPECT_EQ(load("hard/b"), *node);
  EXPECT_EQ(load("hard2/c"), *node);
  EXPECT_EQ(parts->objects.attr_of(**node)->nlink, 3U);
  expect_counted();
}

TEST_F(CopyUpTest, ButThoseThatAreGone) {
  remove_name("hard", "b");
  ASSERT_TRUE(copy("hard/a", CopyUp::kNoData));
  EXPECT_EQ(host("hard/a").st_nlink, 2U);
  EXPECT_TRUE(S_ISCHR(host("hard/b").st_mode));
}

// A file whose names lead to different copies would be worse than none.
TEST_F(CopyUpTest, NamesThatWereMadeAreTakenBackWhereOneCannotBe) {
  ASSERT_TRUE(parts->directories.listing_of(*copy_up().directory_of(row("hard2"))));
  make("hard2/c", S_IFREG | 0644);  // the host knows better
  for (const auto data : {std::optional<std::uint64_t>(CopyUp::kAllData), std::optional<std::uint64_t>()}) {
    EXPECT_EQ(code_of(copy("hard/a", data)), EEXIST);
    EXPECT_FALSE(is_on_host("hard/a") || is_on_host("hard/b"));
    EXPECT_EQ(parts->nodes.known(row("hard/a")), nullptr);
    EXPECT_EQ(parts->directories.look(load("hard"), "a")->visible_lower(), row("hard/a")) << "as on the host";
  }
  ASSERT_TRUE(unlink_at({root_fd(), "hard2/c"}));
  ASSERT_TRUE(copy("hard/a", CopyUp::kAllData));
  EXPECT_EQ(host("hard/a").st_nlink, 3U);
  expect_counted();
}

TEST_F(CopyUpTest, AFileWithoutANameIsCopiedForWhoHoldsIt) {
  hold("big");
  remove_name("", "big");
  parts->lost_names.lose(row("big"));
  const auto node = copy("big", CopyUp::kAllData);
  ASSERT_TRUE(node) << node.error().describe();
  EXPECT_TRUE((*node)->in_work());
  EXPECT_EQ(work_names().size(), 1U);
  EXPECT_EQ(parts->objects.attr_of(**node)->nlink, 0U);
  EXPECT_TRUE(parts->nodes.is_row_released(row("big"), 10));
  parts->objects.release_if_unused(*node);
}

TEST_F(CopyUpTest, OfWhatNobodyCanFindThereIsNoCopy) {
  make_whiteout("only");
  EXPECT_EQ(code_of(copy("only/child", CopyUp::kAllData)), ESTALE);
  EXPECT_EQ(code_of(copy("only", CopyUp::kNoData)), ESTALE);
  EXPECT_EQ(code_of(Result<Pin>(reactor->block_on(copy_up().copy_up(*reactor, row("big"), CopyUp::kNoData)))),
            ESTALE)
      << "the client was never given it";
}

TEST_F(CopyUpTest, AMetacopySaysWhereItsDataIsBeforeItMoves) {
  const NodePtr node = *copy("dir/file", CopyUp::kNoData);
  ASSERT_TRUE(copy_up().redirect_data(*node).value_or(false));
  EXPECT_EQ(marked("dir/file", marks().redirect), "/dir/file");
  expect_counted();
  const NodePtr whole = *copy("sparse", CopyUp::kAllData);
  ASSERT_TRUE(copy_up().redirect_data(*whole).value_or(false));
  EXPECT_EQ(marked("sparse", marks().redirect), "none");
}

class CopyUpOnTmpfsTest : public PartsOnTmpfsTest {};

TEST_F(CopyUpOnTmpfsTest, WhatSaysWhereIsCharged) {
  const std::unique_ptr<Reactor> reactor = *Reactor::create();
  parts->nodes.add_row_reference(row("dir/file"));
  const auto pin = reactor->block_on(parts->copy_up.copy_up(*reactor, row("dir/file"), CopyUp::kNoData));
  ASSERT_TRUE(pin);
  const auto before = parts->ledger.quota().usage().bytes;
  ASSERT_TRUE(parts->copy_up.redirect_data(*pin->node()).value_or(false));
  EXPECT_EQ(parts->ledger.quota().usage().bytes,
            before + parts->ledger.tariff().attribute(marks().redirect, std::string("/dir/file").size()));
}

TEST_F(CopyUpTest, LostDataStaysLostWhereverTheFileGoes) {
  make("lost", S_IFREG | 0644);
  mark("lost", marks().metacopy, "");
  mark("lost", marks().origin, "/was/here");
  ASSERT_EQ(::truncate(on_host("lost").c_str(), 10), 0);
  const NodePtr node = load("lost");
  ASSERT_TRUE(copy_up().redirect_data(*node).value_or(false));
  EXPECT_EQ(marked("lost", marks().redirect), "/was/here");
  mark("lost", marks().redirect, "/before");
  ASSERT_TRUE(copy_up().redirect_data(*node).value_or(false));
  EXPECT_EQ(marked("lost", marks().redirect), "/before");
}

TEST_F(CopyUpTest, NamesThatACrashHasSplitAreJoined) {
  make("hard", S_IFDIR | 0755);
  make("hard/b", S_IFREG | 0644);
  mark("hard/b", marks().origin, "/hard/a");
  ASSERT_TRUE(finish("hard/a"));
  EXPECT_EQ(host("hard/b").st_nlink, 3U);
  EXPECT_EQ(host("hard/a").st_ino, host("hard/b").st_ino);
  EXPECT_EQ(host("hard2/c").st_ino, host("hard/b").st_ino);
  EXPECT_EQ(load("hard/a"), load("hard/b"));
}

TEST_F(CopyUpTest, ButNotThoseOfWhatOverlayfsHasCopied) {
  make("hard", S_IFDIR | 0755);
  make("hard/a", S_IFREG | 0644);
  mark("hard/a", marks().metacopy, "");
  ASSERT_EQ(::truncate(on_host("hard/a").c_str(), 11), 0);
  ASSERT_TRUE(finish("hard/a"));
  EXPECT_EQ(host("hard/a").st_nlink, 1U);
}

TEST_F(CopyUpTest, AHiddenNameIsNotLookedAt) {
  make("hard", S_IFDIR | 0755);
  make("hard/b", S_IFREG | 0644);
  mark("hard/b", marks().origin, "/hard/a");
  ASSERT_TRUE(copy_up().finish(row("hard/a"), [](tree::NodeId) -> Result<bool> { return false; }));
  EXPECT_EQ(host("hard/b").st_nlink, 1U);
  EXPECT_EQ(code_of(copy_up().finish(row("hard/a"), [](tree::NodeId) -> Result<bool> { return fail(EIO); })),
            EIO);
}

}  // namespace
}  // namespace layerboot::overlay
