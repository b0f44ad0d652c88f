#include "vfsd/daemon/idle_poll.h"

#include <gtest/gtest.h>

namespace layerboot::vfsd {
namespace {

/// How many idle moments pass until one is looked at again, in vain.
unsigned moments_until_a_look(IdlePoll& poll) {
  for (unsigned moment = 0; moment <= 2 * IdlePoll::kMaxSkipped; ++moment) {
    bool looked = false;
    EXPECT_FALSE(poll.wait([&] {
      looked = true;
      return false;
    }));
    if (looked) return moment;
  }
  ADD_FAILURE() << "it never looks again";
  return 0;
}

TEST(IdlePoll, LooksEverLessOftenInVain) {
  IdlePoll poll;
  for (unsigned skipped = 0; skipped < IdlePoll::kMaxSkipped; skipped = 2 * skipped + 1) {
    EXPECT_EQ(moments_until_a_look(poll), skipped);
  }
  EXPECT_EQ(moments_until_a_look(poll), IdlePoll::kMaxSkipped);
  EXPECT_EQ(moments_until_a_look(poll), IdlePoll::kMaxSkipped);
}

TEST(IdlePoll, WhatCameInTimeMakesItLookAgainAtOnceAndTakesBackOneStep) {
  IdlePoll poll;
  for (int i = 0; i < 5; ++i) moments_until_a_look(poll);
  unsigned moments = 0;
  while (!poll.wait([] { return true; })) ++moments;
  EXPECT_EQ(moments, 31U);
  EXPECT_EQ(moments_until_a_look(poll), 0U);
  EXPECT_EQ(moments_until_a_look(poll), 31U) << "one request by chance starts all over";
}

TEST(IdlePoll, ManyThatCameInTimeTakeAllStepsBack) {
  IdlePoll poll;
  for (int i = 0; i < 5; ++i) moments_until_a_look(poll);
  for (int i = 0; i < 5; ++i) {
    while (!poll.wait([] { return true; })) continue;
  }
  EXPECT_EQ(moments_until_a_look(poll), 0U);
  EXPECT_EQ(moments_until_a_look(poll), 1U);
}

TEST(IdlePoll, LooksMoreThanOnce) {
  IdlePoll poll;
  unsigned looks = 0;
  EXPECT_TRUE(poll.wait([&] { return ++looks == 5; }));
}

}  // namespace
}  // namespace layerboot::vfsd
