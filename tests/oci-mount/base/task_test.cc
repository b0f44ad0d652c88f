#include "oci-mount/base/task.h"

#include <gtest/gtest.h>

#include <iostream>
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

Task<int> count_to(int limit) {
  int sum = 0;
  for (int i = 0; i < limit; ++i) sum += co_await give(1);
  co_return sum;
}

// g++ makes no tail calls under AddressSanitizer: there each await that ends at once nests two frames.
#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
constexpr int kAwaits = 1000;
#else
constexpr int kAwaits = 100'000;
#endif

TEST(Task, ManyAwaitsKeepTheStackFlat) {
  if (kAwaits < 100'000)
    std::cout << "only " << kAwaits << " awaits: this compiler makes no tail calls under ASan\n";
  int result = 0;
  start(count_to(kAwaits), [&](int value) { result = value; });
  EXPECT_EQ(result, kAwaits);
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
