#include "oci-mount/base/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace layerboot {
namespace {

Task<int> give(int value) { co_return value; }

Task<int> add(int a, int b) {
  const int left = co_await give(a);
  const int right = co_await give(b);
  co_return left + right;
}

Task<std::unique_ptr<std::string>> give_owned() { co_return std::make_unique<std::string>("moved"); }

TEST(Task, RunsOnlyWhenAwaited) {
  bool ran = false;
  auto body = [&]() -> Task<int> {
    ran = true;
    co_return 1;
  };
  {
    const auto never_awaited = body();
    EXPECT_FALSE(ran);
  }
  start(body(), [](int) {});
  EXPECT_TRUE(ran);
}

TEST(Task, GivesItsValueUpThroughAwaits) {
  int result = 0;
  start(add(2, 3), [&](int value) { result = value; });
  EXPECT_EQ(result, 5);
}

TEST(Task, CarriesWhatCanOnlyBeMoved) {
  std::string result;
  start(give_owned(), [&](std::unique_ptr<std::string> value) { result = *value; });
  EXPECT_EQ(result, "moved");
}

// Symmetric transfer: each await that ends at once must not add a stack frame.
Task<int> count_to(int limit) {
  int sum = 0;
  for (int i = 0; i < limit; ++i) sum += co_await give(1);
  co_return sum;
}

TEST(Task, ManyAwaitsKeepTheStackFlat) {
  // A build that does not turn the transfer into a tail call (none of the optimised ones) nests here.
  int result = 0;
  start(count_to(20'000), [&](int value) { result = value; });
  EXPECT_EQ(result, 20'000);
}

struct Suspend {
  std::coroutine_handle<>& into;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) { into = handle; }
  void await_resume() const noexcept {}
};

TEST(Task, EndsWhereItIsResumed) {
  std::coroutine_handle<> waiting;
  auto body = [&]() -> Task<int> {
    co_await Suspend{waiting};
    co_return 7;
  };
  int result = 0;
  start(body(), [&](int value) { result = value; });
  EXPECT_EQ(result, 0);
  waiting.resume();
  EXPECT_EQ(result, 7);
}

}  // namespace
}  // namespace layerboot
