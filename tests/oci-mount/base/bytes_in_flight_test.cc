#include "oci-mount/base/bytes_in_flight.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "oci-mount/base/worker_pool.h"
#include "tests/support/reactor_fixture.h"

namespace layerboot {
namespace {

class BytesInFlightTest : public test::ReactorFixture {
 protected:
  /// Starts who wants `bytes`: `got[i]` becomes its charge, and `order_` tells who came when.
  void want(BytesInFlight& account, int i, std::uint64_t bytes) {
    auto body = [](BytesInFlightTest& test, BytesInFlight& from, int number,
                   std::uint64_t wanted) -> Task<int> {
      auto charge = co_await from.acquire(*test.reactor_, wanted);
      test.got_[static_cast<std::size_t>(number)] = std::move(charge);
      test.order_.push_back(number);
      co_return number;
    };
    start(body(*this, account, i, bytes), [](int) {});
  }
  void run_posted() {
    reactor_->stop();
    reactor_->run();
  }
  void let_go(int i) {
    got_[static_cast<std::size_t>(i)].shrink(0);
    run_posted();
  }

  ByteMeter meter_;
  std::vector<int> order_;
  std::vector<BytesInFlight::Charge> got_{10};
};

TEST_F(BytesInFlightTest, WhatFitsGoesAtOnce) {
  BytesInFlight account(100, meter_);
  want(account, 0, 60);
  want(account, 1, 40);
  EXPECT_EQ(order_, (std::vector{0, 1}));
  EXPECT_EQ(meter_.used(), 100U);
  EXPECT_FALSE(account.try_acquire(1));
  let_go(0);
  EXPECT_TRUE(account.try_acquire(60));
  EXPECT_EQ(meter_.peak(), 100U);
  let_go(1);
  EXPECT_EQ(meter_.used(), 0U);
}

TEST_F(BytesInFlightTest, FirstComeFirstServed) {
  BytesInFlight account(100, meter_);
  want(account, 0, 60);
  want(account, 1, 90);
  want(account, 2, 10);
  EXPECT_EQ(order_, (std::vector{0})) << "the small one fits, but would overtake";
  EXPECT_FALSE(account.try_acquire(1)) << "so would this one";
  EXPECT_EQ(account.waiting(), 2U);
  let_go(0);
  EXPECT_EQ(order_, (std::vector{0, 1, 2}));
  let_go(1);
  let_go(2);
  EXPECT_EQ(account.used_bytes(), 0U);
}

TEST_F(BytesInFlightTest, WhoWantsMoreThanThereIsGetsThroughAlone) {
  BytesInFlight account(100, meter_);
  want(account, 0, 1);
  want(account, 1, 1000);
  want(account, 2, 1);
  EXPECT_EQ(order_, (std::vector{0}));
  let_go(0);
  EXPECT_EQ(order_, (std::vector{0, 1}));
  let_go(1);
  EXPECT_EQ(order_, (std::vector{0, 1, 2}));
  let_go(2);
}

TEST_F(BytesInFlightTest, APartMayBeGivenBackEarly) {
  BytesInFlight account(100, meter_);
  want(account, 0, 100);
  want(account, 1, 30);
  got_[0].shrink(70);
  run_posted();
  EXPECT_EQ(order_, (std::vector{0, 1}));
  EXPECT_EQ(account.used_bytes(), 100U);
  got_[0].shrink(90);
  EXPECT_EQ(got_[0].bytes(), 70U) << "it never grows";
  let_go(0);
  let_go(1);
}

/// Many on several threads, of random sizes, some of which never wait: the capacity holds, and all get
/// through.
TEST(BytesInFlightStress, AllGetThroughAndTheCapacityHolds) {
  constexpr std::uint64_t kSeed = 7;
  constexpr std::uint64_t kCapacity = 1000;
  constexpr int kThreads = 4;
  constexpr int kAtOnce = 40;
  constexpr int kRounds = 300;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  ByteMeter meter;
  BytesInFlight account(kCapacity, meter);
  WorkerPool workers(2);
  std::atomic<std::uint64_t> held{0};
  std::atomic<bool> passed{false};
  const auto one = [&](Reactor& reactor, std::uint64_t bytes) -> Task<int> {
    auto charge = co_await account.acquire(reactor, bytes);
    if (held.fetch_add(charge.bytes()) + charge.bytes() > kCapacity) passed = true;
    auto work = [] { std::this_thread::yield(); };
    if (bytes % 2 == 0) co_await workers.run(reactor, work);
    held.fetch_sub(charge.bytes() - charge.bytes() / 2);
    charge.shrink(charge.bytes() / 2);
    co_await workers.run(reactor, work);
    held.fetch_sub(charge.bytes());
    charge.shrink(0);
    co_return 0;
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      auto reactor = Reactor::create();
      if (!reactor) return;
      std::mt19937_64 random(kSeed + static_cast<std::uint64_t>(thread));
      int left = kAtOnce * kRounds;
      int started = 0;
      std::function<void()> next = [&] {
        if (started == kAtOnce * kRounds) return;
        ++started;
        const std::uint64_t bytes = 1 + random() % (random() % 8 == 0 ? kCapacity : kCapacity / 10);
        if (auto without_waiting = account.try_acquire(bytes)) {
          if (held.fetch_add(without_waiting.bytes()) + without_waiting.bytes() > kCapacity) passed = true;
          held.fetch_sub(without_waiting.bytes());
        }
        start(one(**reactor, bytes), [&](int) {
          if (--left == 0) return (*reactor)->stop();
          (*reactor)->post([&] { next(); });
        });
      };
      for (int i = 0; i < kAtOnce; ++i) (*reactor)->post([&] { next(); });
      (*reactor)->run();
      EXPECT_EQ(left, 0);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(passed);
  EXPECT_EQ(account.used_bytes(), 0U);
  EXPECT_EQ(account.waiting(), 0U);
  EXPECT_EQ(meter.used(), 0U);
  EXPECT_LE(meter.peak(), kCapacity);
}

}  // namespace
}  // namespace layerboot
