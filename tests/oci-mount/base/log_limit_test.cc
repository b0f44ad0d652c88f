#include "oci-mount/base/log_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace layerboot {
namespace {

using std::chrono::milliseconds;

constexpr LogLimit::Time kStart{std::chrono::hours(1)};

TEST(LogLimit, TellsTheFirstAtOnceAndThenOneInAPauseWithTheCount) {
  LogLimit limit;
  EXPECT_EQ(limit.take(kStart), 0U);
  EXPECT_EQ(limit.take(kStart), std::nullopt);
  EXPECT_EQ(limit.take(kStart + LogLimit::kPause - milliseconds(1)), std::nullopt);
  EXPECT_EQ(limit.take(kStart + LogLimit::kPause), 2U);
  EXPECT_EQ(limit.take(kStart + LogLimit::kPause + milliseconds(1)), std::nullopt);
  EXPECT_EQ(limit.take(kStart + 10 * LogLimit::kPause), 1U);
  EXPECT_EQ(limit.take(kStart + 20 * LogLimit::kPause), 0U) << "none in between";
}

TEST(LogLimit, TellsSeveralAtOnceWhereTheyBelongTogether) {
  LogLimit limit(3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.take(kStart + milliseconds(i)), 0U);
  EXPECT_EQ(limit.take(kStart + milliseconds(3)), std::nullopt);
  EXPECT_EQ(limit.take(kStart + LogLimit::kPause), 1U);
  EXPECT_EQ(limit.take(kStart + LogLimit::kPause), std::nullopt);
  EXPECT_EQ(limit.take(kStart + 3 * LogLimit::kPause), 1U) << "two pauses, two lines";
  EXPECT_EQ(limit.take(kStart + 3 * LogLimit::kPause), 0U);
  EXPECT_EQ(limit.take(kStart + 3 * LogLimit::kPause), std::nullopt);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limit.take(kStart + 20 * LogLimit::kPause));
  EXPECT_EQ(limit.take(kStart + 20 * LogLimit::kPause), std::nullopt) << "a long silence lends no more";
}

TEST(LogLimit, SaysHowManyWereLeftOut) {
  EXPECT_EQ(LogLimit::words(0), "");
  EXPECT_EQ(LogLimit::words(12), " (and 12 times more before this)");
}

TEST(LogLimit, WritesOneLineForMany) {
  LogLimit limit;
  testing::internal::CaptureStderr();
  for (int i = 0; i < 1000; ++i) limit.warn("the guest says ", i);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("the guest says 0\n"), std::string::npos) << said;
  EXPECT_EQ(said.find("the guest says 1"), std::string::npos) << said;
}

TEST(LogLimit, CountsWhatSeveralThreadsCallForth) {
  LogLimit limit;
  std::atomic<int> told = 0;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) told += limit.take(kStart).has_value() ? 1 : 0;
    });
  }
  threads.clear();
  EXPECT_EQ(told, 1);
  EXPECT_EQ(limit.take(kStart + LogLimit::kPause), 3999U);
}

}  // namespace
}  // namespace layerboot
