#include "oci-mount/overlay/file_rules.h"

#include <gtest/gtest.h>

namespace layerboot::overlay {
namespace {

TEST(FileRules, BlocksBeginAndEndAtTheirBorders) {
  EXPECT_EQ(block_start(0), 0U);
  EXPECT_EQ(block_start(4095), 0U);
  EXPECT_EQ(block_start(4096), 4096U);
  EXPECT_EQ(block_end(0), 0U);
  EXPECT_EQ(block_end(1), 4096U);
  EXPECT_EQ(block_end(4096), 4096U);
}

TEST(FileRules, ARangeEndsWhereAFileCan) {
  EXPECT_FALSE(range_wraps(0, INT64_MAX));
  EXPECT_FALSE(range_wraps(INT64_MAX, 0));
  EXPECT_TRUE(range_wraps(INT64_MAX, 1));
  EXPECT_TRUE(range_wraps(1, INT64_MAX));
  EXPECT_TRUE(range_wraps(UINT64_MAX, 1));
}

TEST(FileRules, FallocateIsServedAsByExt4) {
  for (const int mode :
       {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
        FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE}) {
    EXPECT_TRUE(is_served_fallocate(static_cast<std::uint32_t>(mode))) << mode;
  }
  for (const int mode : {FALLOC_FL_PUNCH_HOLE, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE,
                         FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_NO_HIDE_STALE, 1 << 30}) {
    EXPECT_FALSE(is_served_fallocate(static_cast<std::uint32_t>(mode))) << mode;
  }
}

// S_ISGID without execution by the group means mandatory locking, or nothing: it stays.
TEST(FileRules, SetIdGoesWhereItGivesARight) {
  EXPECT_EQ(without_set_id(06777), 00777U);
  EXPECT_EQ(without_set_id(06767), 02767U);
  EXPECT_EQ(without_set_id(01755), 01755U);
}

TEST(FileRules, TimesAreLeftSetOrNow) {
  EXPECT_EQ(timespec_of(std::optional<TimeChange>()).tv_nsec, UTIME_OMIT);
  EXPECT_EQ(timespec_of(std::optional(TimeChange{.now = true, .time = {}})).tv_nsec, UTIME_NOW);
  const auto set = timespec_of(std::optional(TimeChange{.now = false, .time = {-5, 7}}));
  EXPECT_EQ(set.tv_sec, -5);
  EXPECT_EQ(set.tv_nsec, 7);
  const Time back = time_of(set);
  EXPECT_EQ(back.sec, -5);
  EXPECT_EQ(back.nsec, 7U);
}

struct Inherited {
  std::uint32_t mode;
  std::uint32_t gid;
};
Inherited inherited(std::uint32_t directory_mode, std::uint32_t mode, Caller caller) {
  Attr directory;
  directory.mode = S_IFDIR | directory_mode;
  directory.gid = 50;
  inherit_group(directory, mode, caller);
  return {mode, caller.gid};
}

TEST(FileRules, ADirectoryWithoutSetGidHandsDownNothing) {
  const auto made = inherited(0777, S_IFREG | 02775, {.uid = 1000, .gid = 1000});
  EXPECT_EQ(made.mode, S_IFREG | 02775U);
  EXPECT_EQ(made.gid, 1000U);
}

TEST(FileRules, ADirectoryWithSetGidHandsDownItsGroup) {
  const auto made = inherited(02777, S_IFREG | 0644, {.uid = 1000, .gid = 1000});
  EXPECT_EQ(made.gid, 50U);
  EXPECT_EQ(made.mode, S_IFREG | 0644U);
  EXPECT_EQ(inherited(02777, S_IFDIR | 0755, {.uid = 1000, .gid = 1000}).mode, S_IFDIR | 02755U);
}

TEST(FileRules, NobodyMakesAFileThatRunsAsAGroupThatIsNotTheirs) {
  EXPECT_EQ(inherited(02777, S_IFREG | 02775, {.uid = 1000, .gid = 1000}).mode, S_IFREG | 0775U);
  EXPECT_EQ(inherited(02777, S_IFREG | 02765, {.uid = 1000, .gid = 1000}).mode, S_IFREG | 02765U);
  EXPECT_EQ(inherited(02777, S_IFREG | 02775, {.uid = 0, .gid = 0}).mode, S_IFREG | 02775U);
  EXPECT_EQ(inherited(02777, S_IFREG | 02775, {.uid = 1000, .gid = 50}).mode, S_IFREG | 02775U);
  EXPECT_EQ(inherited(02777, S_IFREG | 02775, {.uid = 1000, .gid = 1000, .also_in = 50}).mode,
            S_IFREG | 02775U);
}

}  // namespace
}  // namespace layerboot::overlay
