#include "oci-mount/base/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace layerboot {
namespace {

TEST(WorkerPool, RunsEverythingBeforeItEnds) {
  std::atomic<int> ran{0};
  {
    WorkerPool pool(2);
    for (int i = 0; i < 500; ++i) pool.submit([&] { ++ran; });
  }
  EXPECT_EQ(ran, 500);
}

TEST(WorkerPool, WithoutThreadsTheCallerWorks) {
  WorkerPool pool(0);
  std::thread::id ran_on;
  pool.submit([&] { ran_on = std::this_thread::get_id(); });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST(WorkerPool, AtItsBoundTheCallerWorks) {
  std::mutex gate;
  std::atomic<int> ran{0};
  gate.lock();
  WorkerPool pool(1);
  std::atomic<bool> taken{false};
  pool.submit([&] {
    taken = true;
    const std::lock_guard wait(gate);
  });
  while (!taken) std::this_thread::yield();
  for (std::size_t i = 0; i < WorkerPool::kMaxQueued; ++i) pool.submit([&] { ++ran; });
  EXPECT_EQ(ran, 0);
  pool.submit([&] { ++ran; });
  EXPECT_EQ(ran, 1) << "the job over the bound ran here";
  gate.unlock();
}

TEST(WorkerPool, ResumesOnTheReactorsThread) {
  auto reactor = Reactor::create();
  ASSERT_TRUE(reactor);
  WorkerPool pool(1);
  std::thread::id worked_on;
  std::thread::id resumed_on;
  auto body = [&]() -> Task<int> {
    auto work = [&] { worked_on = std::this_thread::get_id(); };
    co_await pool.run(**reactor, work);
    resumed_on = std::this_thread::get_id();
    co_return 1;
  };
  (*reactor)->block_on(body());
  EXPECT_NE(worked_on, std::this_thread::get_id());
  EXPECT_EQ(resumed_on, std::this_thread::get_id());
}

}  // namespace
}  // namespace layerboot
