#include "launcher/host/staging_directory.h"

#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class Staging : public ScratchTest {};

TEST_F(Staging, LeavesNothingWhenDropped) {
  {
    auto staging = StagingDirectory::create(scratch_ / "deep/target");
    ASSERT_TRUE(staging);
    write(staging->path() / "half/made", "x");
  }
  EXPECT_EQ(entries(scratch_ / "deep"), 0U);
}

TEST_F(Staging, IsForItsOwnerAloneUnlessAskedOtherwise) {
  const auto mode_of = [](const StagingDirectory& staging) {
    return std::filesystem::status(staging.path()).permissions();
  };
  auto staging = StagingDirectory::create(scratch_ / "target");
  ASSERT_TRUE(staging);
  EXPECT_EQ(mode_of(*staging), std::filesystem::perms{0700});
  auto open = StagingDirectory::create(scratch_ / "kernel", 0755);
  ASSERT_TRUE(open);
  EXPECT_EQ(mode_of(*open), std::filesystem::perms{0755});
}

TEST_F(Staging, CommitGivesTheNameAndLeavesNothingElse) {
  {
    auto staging = StagingDirectory::create(scratch_ / "target");
    ASSERT_TRUE(staging);
    write(staging->path() / "whole/file", "x");
    write(staging->path() / "waste", "y");
    ASSERT_TRUE(staging->commit(staging->path() / "whole"));
  }
  EXPECT_EQ(read(scratch_ / "target/file"), "x");
  EXPECT_EQ(entries(scratch_), 1U);
}

/// Of a process that was killed.
TEST_F(Staging, WhatNobodyOwnsIsRemoved) {
  const auto owned = StagingDirectory::create(scratch_ / "target");
  ASSERT_TRUE(owned);
  write(scratch_ / ".target.making-killed/half", "x");
  write(scratch_ / ".other.making-killed/half", "x");
  write(scratch_ / ".target.making-longer-name/half", "x");
  write(scratch_ / ".target.making-a-file", "x");
  StagingDirectory::remove_leftovers(scratch_ / "target");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / ".target.making-killed"));
  EXPECT_TRUE(std::filesystem::exists(owned->path()));
  EXPECT_EQ(entries(scratch_), 4U);
  EXPECT_GT(StagingDirectory::remove_leftovers_in(scratch_), 0U);
  EXPECT_FALSE(std::filesystem::exists(scratch_ / ".other.making-killed"));
  EXPECT_EQ(entries(scratch_), 3U);
}

TEST_F(Staging, TheFasterOfTwoWins) {
  auto slow = StagingDirectory::create(scratch_ / "target");
  ASSERT_TRUE(slow);
  write(slow->path() / "whole/file", "slow");
  write(scratch_ / "target/file", "fast");
  EXPECT_TRUE(slow->commit(slow->path() / "whole"));
  EXPECT_EQ(read(scratch_ / "target/file"), "fast");
}

}  // namespace
}  // namespace layerboot::launcher
