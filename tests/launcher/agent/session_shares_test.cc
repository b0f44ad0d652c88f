#include "launcher/agent/session_shares.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerboot::launcher {
namespace {

class Shares : public testing::Test {
 protected:
  SessionShares::Id join() {
    const auto index = called_.size();
    called_.push_back(0);
    return shares_.join([this, index] { ++called_[index]; });
  }
  /// As many as it gets.
  std::size_t fill(SessionShares::Id id) {
    std::size_t got = 0;
    for (; shares_.has_room(id); ++got) shares_.take(id);
    return got;
  }

  SessionShares shares_;
  std::vector<int> called_;
};

TEST_F(Shares, OneForwardHasItsBoundAndAllHaveTheirs) {
  const auto one = join();
  EXPECT_EQ(fill(one), SessionShares::kMaxEach);
  const auto two = join();
  EXPECT_EQ(fill(two), SessionShares::kMaxForAll - SessionShares::kMaxEach);
  EXPECT_EQ(SessionShares::kMaxForAll + SessionShares::kKeptForOthers, guest_init::kMaxSessions);
}

TEST_F(Shares, WhoHasNoneKeepsAFew) {
  const auto one = join();
  const auto two = join();
  const auto three = join();
  EXPECT_EQ(fill(one), SessionShares::kMaxEach);
  EXPECT_EQ(fill(two), SessionShares::kMaxForAll - SessionShares::kMaxEach - SessionShares::kMaxKeptForEach);
  EXPECT_EQ(fill(three), SessionShares::kMaxKeptForEach);
  shares_.give_back(one);
  EXPECT_TRUE(shares_.has_room(two));
}

TEST_F(Shares, ManyForwardsAreNotKeptFromWork) {
  std::vector<SessionShares::Id> many;
  for (int i = 0; i < 70; ++i) many.push_back(join());
  EXPECT_EQ(fill(many.front()), SessionShares::kMaxEach);
  std::size_t others = 0;
  for (const auto id : many) others += fill(id);
  EXPECT_EQ(others, SessionShares::kMaxForAll - SessionShares::kMaxEach);
}

TEST_F(Shares, WhatOneThatHasLeftStillHasCountsForAll) {
  const auto one = join();
  fill(one);
  shares_.leave(one);
  const auto two = join();
  EXPECT_EQ(fill(two), SessionShares::kMaxForAll - SessionShares::kMaxEach);
  shares_.give_back(one);
  EXPECT_EQ(fill(two), 1U);
  EXPECT_FALSE(shares_.has_room(one));
}

TEST_F(Shares, WhoeverWaitsIsCalledOnceAndAnotherOneFirstEachTime) {
  std::string order;
  std::vector<SessionShares::Id> ids;
  for (const char name : {'a', 'b', 'c'}) ids.push_back(shares_.join([&order, name] { order += name; }));
  shares_.call_waiting();
  EXPECT_EQ(order, "");
  for (const auto id : ids) shares_.wait(id);
  shares_.call_waiting();
  shares_.call_waiting();
  EXPECT_EQ(order, "abc");
  for (const auto id : ids) shares_.wait(id);
  shares_.call_waiting();
  EXPECT_EQ(order, "abcbca");
  shares_.wait(ids.back());
  shares_.leave(ids.front());
  EXPECT_EQ(order, "abcbcac");
}

}  // namespace
}  // namespace layerboot::launcher
