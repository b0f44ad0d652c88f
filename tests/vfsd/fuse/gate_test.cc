#include "vfsd/fuse/gate.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

#include "oci-mount/base/task.h"

namespace layerboot::vfsd::fuse {
namespace {

class GateTest : public testing::Test {
 protected:
  GateTest() : reactor(std::move(*Reactor::create())) {}

  Task<int> close(std::vector<int>& closed, int who) {
    auto alone = co_await gate.close(*reactor);
    closed.push_back(who);
    if (keeps_closed) kept.emplace(std::move(alone));
    co_return 0;
  }
  void run() {
    reactor->stop();
    reactor->run();
  }

  Gate gate;
  std::unique_ptr<Reactor> reactor;
  std::optional<Gate::Closed> kept;
  bool keeps_closed = false;
};

TEST_F(GateTest, IsClosedAtOnceWhereNobodyIsWithin) {
  {
    EXPECT_TRUE(gate.enter());
  }
  std::vector<int> closed;
  keeps_closed = true;
  start(close(closed, 1), [](int) {});
  EXPECT_EQ(closed, std::vector{1});
  EXPECT_FALSE(gate.enter());
  kept.reset();
  EXPECT_TRUE(gate.enter());
}

TEST_F(GateTest, IsClosedOnceForEachWhenAllHaveLeft) {
  auto first = gate.enter();
  auto second = gate.enter();
  std::vector<int> closed;
  start(close(closed, 1), [](int) {});
  start(close(closed, 2), [](int) {});
  EXPECT_FALSE(gate.enter());
  first = {};
  run();
  EXPECT_TRUE(closed.empty());
  std::thread([&second] { second = {}; }).join();
  while (closed.size() < 2) run();
  EXPECT_EQ(closed, (std::vector{1, 2}));
  EXPECT_TRUE(gate.enter());
}

TEST_F(GateTest, NobodyIsWithinWhileItIsClosed) {
  constexpr int kRounds = 20'000;
  std::atomic<int> within = 0;
  std::atomic<bool> is_closed = false;
  std::atomic<int> wrong = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> queues;
  for (int i = 0; i < 3; ++i) {
    queues.emplace_back([&] {
      while (!done) {
        const auto pass = gate.enter();
        if (!pass) continue;
        ++within;
        if (is_closed) ++wrong;
        --within;
      }
    });
  }
  const auto once = [&]() -> Task<int> {
    const auto alone = co_await gate.close(*reactor);
    is_closed = true;
    if (within != 0) ++wrong;
    is_closed = false;
    co_return 0;
  };
  for (int i = 0; i < kRounds; ++i) {
    bool ended = false;
    start(once(), [&ended](int) { ended = true; });
    while (!ended) run();
  }
  done = true;
  for (auto& queue : queues) queue.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
