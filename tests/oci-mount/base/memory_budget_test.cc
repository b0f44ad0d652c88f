#include "oci-mount/base/memory_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace layerboot {
namespace {

constexpr std::uint64_t kMiB = 1U << 20U;
constexpr std::uint64_t kNotKept = MemoryBudget::kProgramBytes + MemoryBudget::kSpansBytes +
                                   MemoryBudget::kCopiesBytes + MemoryBudget::kRangesBytes;

TEST(MemoryBudget, TheLimitIsDivided) {
  MemoryBudget budget(kNotKept + 20 * kMiB);
  EXPECT_EQ(budget.limit_bytes(), kNotKept + 20 * kMiB);
  EXPECT_EQ(budget.used_bytes(), MemoryBudget::kProgramBytes);
  EXPECT_TRUE(budget.take(19 * kMiB));
  EXPECT_FALSE(budget.take(kMiB + 1));
  EXPECT_TRUE(budget.take(kMiB));
  auto charge = budget.spans().try_acquire(MemoryBudget::kSpansBytes);
  EXPECT_TRUE(charge) << "what is kept leaves work in flight its own";
  auto copies = budget.copies().try_acquire(MemoryBudget::kCopiesBytes);
  EXPECT_TRUE(copies);
  EXPECT_TRUE(budget.ranges().try_acquire(MemoryBudget::kRangesBytes));
  EXPECT_EQ(budget.peak_bytes(), budget.limit_bytes());
  budget.give_back(20 * kMiB);
  charge.shrink(0);
  copies.shrink(0);
  EXPECT_EQ(budget.used_bytes(), MemoryBudget::kProgramBytes);
}

TEST(MemoryBudget, ALargeSpanTakesOfWhatIsKept) {
  MemoryBudget budget(256 * kMiB, 96 * kMiB);
  EXPECT_EQ(budget.spans().capacity_bytes(), 96 * kMiB);
  EXPECT_TRUE(budget.take(112 * kMiB));
  EXPECT_FALSE(budget.take(1));
  budget.give_back(112 * kMiB);
}

TEST(MemoryBudget, TooLittleIsRefusedWithWhatWouldDo) {
  EXPECT_TRUE(MemoryBudget::check(MemoryBudget::kDefaultLimitBytes, 96 * kMiB));
  EXPECT_TRUE(MemoryBudget::check(kNotKept + MemoryBudget::kLeastKeptBytes, 0));
  const auto refused = MemoryBudget::check(128 * kMiB, 96 * kMiB);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EINVAL);
  EXPECT_NE(refused.error().text.find("give at least 160M"), std::string::npos) << refused.error().text;
}

TEST(MemoryBudget, WhatCantBeRefusedMayPassTheLimit) {
  MemoryBudget budget(kNotKept + kMiB);
  budget.take_anyway(2 * kMiB);
  EXPECT_FALSE(budget.take(1));
  EXPECT_FALSE(budget.try_take(1));
  budget.give_back(2 * kMiB);
  EXPECT_TRUE(budget.take(kMiB));
  budget.give_back(kMiB);
}

class FakeCache final : public MemoryBudget::Cache {
 public:
  explicit FakeCache(MemoryBudget& budget) : budget_(budget) { budget.add(*this); }
  ~FakeCache() {
    budget_.remove(*this);
    let_go(bytes_);
  }
  void let_go(std::uint64_t bytes) override {
    ++asked;
    const std::uint64_t now = std::min(bytes, bytes_.load());
    bytes_ -= now;
    budget_.give_back(now);
  }
  void fill() {
    while (budget_.try_take(kMiB)) bytes_ += kMiB;
  }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  int asked = 0;

 private:
  MemoryBudget& budget_;
  std::atomic<std::uint64_t> bytes_ = 0;
};

TEST(MemoryBudget, CachesLetGoBeforeAnybodyIsRefused) {
  MemoryBudget budget(kNotKept + 10 * kMiB);
  FakeCache cache(budget);
  cache.fill();
  EXPECT_EQ(cache.bytes(), 10 * kMiB);
  for (int i = 0; i < 1024; ++i) ASSERT_TRUE(budget.take(1024)) << i;
  EXPECT_EQ(cache.asked, 1) << "not for each object";
  EXPECT_TRUE(budget.take(9 * kMiB));
  EXPECT_EQ(cache.bytes(), 0U);
  EXPECT_FALSE(budget.take(1));
  budget.give_back(10 * kMiB);
}

/// Threads take, keep and give back, beside a cache that fills what is free.
TEST(MemoryBudgetStress, TheLimitHoldsOnSeveralThreads) {
  constexpr std::uint64_t kSeed = 11;
  constexpr int kThreads = 4;
  constexpr int kRounds = 20000;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  MemoryBudget budget(kNotKept + 8 * kMiB);
  {
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&budget, thread] {
        std::mt19937_64 random(kSeed + static_cast<std::uint64_t>(thread));
        std::vector<std::uint64_t> mine;
        for (int i = 0; i < kRounds; ++i) {
          const std::uint64_t bytes = random() % kMiB;
          if (random() % 2 == 0 ? budget.take(bytes) : budget.try_take(bytes)) mine.push_back(bytes);
          if (mine.empty() || random() % 2 == 0) continue;
          budget.give_back(mine.back());
          mine.pop_back();
        }
        for (const std::uint64_t bytes : mine) budget.give_back(bytes);
      });
    }
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(budget.used_bytes(), MemoryBudget::kProgramBytes);
  EXPECT_LE(budget.peak_bytes(), MemoryBudget::kProgramBytes + 8 * kMiB);
  EXPECT_TRUE(budget.take(8 * kMiB)) << "nothing was lost";
  budget.give_back(8 * kMiB);
}

}  // namespace
}  // namespace layerboot
