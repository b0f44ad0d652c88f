#include "oci-mount/layer/span_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "oci-mount/base/task.h"
#include "tests/support/reactor_fixture.h"

namespace layerboot::layer {
namespace {

Task<Result<SpanPtr>> get(SpanCache& cache, Reactor& reactor, SpanKey key) {
  auto span = co_await cache.acquire(reactor, key);
  co_return span;
}

class SpanCacheTest : public test::ReactorFixture {
 protected:
  MemoryBudget budget_;

  /// As who asks first would: takes the order to make the span, and makes it.
  void put(SpanCache& cache, SpanKey key, std::size_t size_bytes) {
    const auto order = reactor_->block_on(get(cache, *reactor_, key));
    ASSERT_TRUE(order && !*order);
    cache.finish(key, cache.make(size_bytes, {}));
  }
};

TEST_F(SpanCacheTest, FirstIsToldToMakeItThenAllFindIt) {
  SpanCache cache(budget_);
  const SpanKey key{1, 2};
  EXPECT_FALSE(cache.find(key));
  put(cache, key, 100);
  EXPECT_TRUE(cache.find(key));
  EXPECT_EQ(cache.used_bytes(), 100U);
  const auto found = reactor_->block_on(get(cache, *reactor_, key));
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, cache.find(key));
}

TEST_F(SpanCacheTest, StaysWithinItsBytes) {
  constexpr std::size_t kMax = 8000;
  SpanCache cache(budget_, kMax);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    put(cache, {1, i}, 300);
    EXPECT_LE(cache.used_bytes(), kMax);
  }
  EXPECT_TRUE(cache.find({1, 999}));
  EXPECT_FALSE(cache.find({1, 0}));
}

TEST_F(SpanCacheTest, TheLeastRecentlyUsedGoesFirst) {
  SpanCache cache(budget_, 1000 * SpanCache::kShards);
  // One shard: neighbours kShards apart.
  const auto key = [](std::uint32_t i) {
    return SpanKey{1, i * static_cast<std::uint32_t>(SpanCache::kShards)};
  };
  put(cache, key(0), 400);
  put(cache, key(1), 400);
  EXPECT_TRUE(cache.find(key(0)));
  put(cache, key(2), 400);
  EXPECT_TRUE(cache.find(key(0)));
  EXPECT_FALSE(cache.find(key(1)));
}

TEST_F(SpanCacheTest, TooLargeASpanIsHandedOutButNotKept) {
  SpanCache cache(budget_, 1000 * SpanCache::kShards);
  put(cache, {1, 1}, 500);
  put(cache, {1, 2}, 1001);
  EXPECT_FALSE(cache.find({1, 2}));
  EXPECT_TRUE(cache.find({1, 1}));
}

TEST_F(SpanCacheTest, LetsGoBeforeOthersAreRefused) {
  constexpr std::size_t kChunk = SpanMemory::kChunkBytes;
  constexpr std::uint64_t kRoom = MemoryBudget::kLeastKeptBytes;
  MemoryBudget small(MemoryBudget::kProgramBytes + MemoryBudget::kSpansBytes + MemoryBudget::kCopiesBytes +
                     MemoryBudget::kRangesBytes + kRoom);
  SpanCache cache(small);
  for (std::uint32_t i = 0; i < 100; ++i) put(cache, {1, i}, kChunk);
  EXPECT_EQ(cache.used_bytes(), kRoom) << "not more than there is room for";
  const SpanPtr held = cache.find({1, 99});
  ASSERT_TRUE(small.take(kRoom - kChunk));
  if (held) {
    EXPECT_FALSE(small.take(1)) << "a span in use stays";
  }
  EXPECT_EQ(cache.used_bytes(), 0U);
  small.give_back(kRoom - kChunk);
  put(cache, {1, 7}, kChunk);
  EXPECT_TRUE(cache.find({1, 7})) << "there is room again";
}

TEST_F(SpanCacheTest, ALargeSpanIsInFlightUntilItIsKept) {
  constexpr std::size_t kLarge = SpanMemory::kChunkBytes + 1;
  SpanCache cache(budget_);
  auto& in_flight = budget_.spans();
  const SpanKey key{1, 1};
  ASSERT_TRUE(cache.claim(key));
  auto span = cache.make(kLarge, in_flight.try_acquire(kLarge));
  EXPECT_EQ(in_flight.used_bytes(), kLarge);
  const auto before = budget_.used_bytes();
  cache.finish(key, span);
  EXPECT_EQ(in_flight.used_bytes(), 0U);
  EXPECT_EQ(budget_.used_bytes(), before);
  span.reset();
  EXPECT_EQ(budget_.used_bytes(), before);
  EXPECT_TRUE(cache.find(key));
  // Too large to be kept at all.
  constexpr std::size_t kTooLarge = SpanCache::kDefaultBytes / SpanCache::kShards + 1;
  const SpanKey other{1, 2};
  ASSERT_TRUE(cache.claim(other));
  span = cache.make(kTooLarge, in_flight.try_acquire(kTooLarge));
  cache.finish(other, span);
  EXPECT_EQ(in_flight.used_bytes(), kTooLarge) << "as long as somebody has it";
  span.reset();
  EXPECT_EQ(in_flight.used_bytes(), 0U);
}

TEST_F(SpanCacheTest, OnlyOneCanClaimASpan) {
  SpanCache cache(budget_);
  const SpanKey key{1, 1};
  EXPECT_TRUE(cache.claim(key));
  EXPECT_FALSE(cache.claim(key)) << "it is being made";
  cache.finish(key, fail(EIO));
  EXPECT_TRUE(cache.claim(key));
  cache.finish(key, cache.make(1, {}));
  EXPECT_FALSE(cache.claim(key)) << "it is here";
}

TEST_F(SpanCacheTest, WaitersGetTheSpanOrTheError) {
  for (const bool good : {true, false}) {
    SpanCache cache(budget_);
    const SpanKey key{1, 1};
    ASSERT_TRUE(reactor_->block_on(get(cache, *reactor_, key)));
    int resumed = 0;
    for (int i = 0; i < 10; ++i) {
      start(get(cache, *reactor_, key), [&](const Result<SpanPtr>& span) {
        EXPECT_EQ(span.has_value(), good);
        if (++resumed == 10) reactor_->stop();
      });
    }
    EXPECT_EQ(resumed, 0);
    if (good) {
      cache.finish(key, cache.make(5, {}));
    } else {
      cache.finish(key, fail(EIO, "the maker's error"));
    }
    EXPECT_EQ(resumed, 0) << "they are resumed by their reactor, not by the maker";
    reactor_->run();
    EXPECT_EQ(resumed, 10);
    EXPECT_EQ(cache.find(key) != nullptr, good) << "an error is not kept: the next one tries again";
  }
}

TEST_F(SpanCacheTest, WaitersResumeOnTheirOwnReactor) {
  SpanCache cache(budget_);
  constexpr std::uint32_t kKeys = 500;
  constexpr int kThreads = 3;
  std::atomic<int> made{0};
  const auto one_thread = [&](Reactor* reactor) {
    const auto self = std::this_thread::get_id();
    auto body = [&](SpanKey key) -> Task<Result<SpanPtr>> {
      auto span = co_await cache.acquire(*reactor, key);
      EXPECT_EQ(std::this_thread::get_id(), self);
      if (span && !*span) {
        ++made;
        const auto mine = cache.make(64, {});
        cache.finish(key, mine);
        span = SpanPtr(mine);
      }
      co_return span;
    };
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      const auto span = reactor->block_on(body({1, i}));
      EXPECT_TRUE(span && *span);
    }
  };
  // Gone after all threads: ThreadSanitizer does not see a ring unmapped and its place mapped anew.
  std::array<std::unique_ptr<Reactor>, kThreads> reactors;
  std::vector<std::thread> threads;
  for (auto& reactor : reactors) {
    threads.emplace_back([&] {
      reactor = std::move(Reactor::create().value());
      one_thread(reactor.get());
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(made, static_cast<int>(kKeys));
}

}  // namespace
}  // namespace layerboot::layer
