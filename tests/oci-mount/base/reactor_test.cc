#include "oci-mount/base/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "tests/support/image_builder.h"
#include "tests/support/reactor_fixture.h"
#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

class ReactorTest : public test::ReactorFixture {};

Task<Result<std::string>> write_then_read(Reactor& reactor, int fd) {
  std::string first = "hello ";
  std::string second = "ring";
  const std::array out{iovec{first.data(), first.size()}, iovec{second.data(), second.size()}};
  auto put = co_await reactor.writev(fd, out, 3);
  if (!put) co_return std::unexpected(put.error());
  auto synced = co_await reactor.fsync(fd, true);
  if (!synced) co_return std::unexpected(synced.error());
  std::string back(*put, '.');
  auto got = co_await reactor.read(fd, std::as_writable_bytes(std::span(back)), 3);
  if (!got) co_return std::unexpected(got.error());
  back.resize(*got);
  co_return back;
}

TEST_F(ReactorTest, WritesAndReadsFiles) {
  const test::TempDir dir;
  const auto fd = open_path(dir / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(fd);
  const auto text = reactor_->block_on(write_then_read(*reactor_, fd->get()));
  ASSERT_TRUE(text) << text.error().describe();
  EXPECT_EQ(*text, "hello ring");
}

TEST_F(ReactorTest, GivesErrnoAsError) {
  auto body = [&]() -> Task<Result<std::size_t>> {
    std::byte buffer{};
    auto got = co_await reactor_->read(-1, {&buffer, 1}, 0);
    co_return got;
  };
  const auto got = reactor_->block_on(body());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, EBADF);
}

TEST_F(ReactorTest, PostedWorkRunsInOrderOnItsThread) {
  std::vector<int> order;
  std::thread::id ran_on;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      reactor_->post([&, i] {
        order.push_back(i);
        ran_on = std::this_thread::get_id();
      });
    }
    reactor_->stop();
  });
  reactor_->run();
  other.join();
  ASSERT_EQ(order.size(), 100U);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST_F(ReactorTest, CallsAWatchEachTimeUntilUnwatched) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  int calls = 0;
  reactor_->watch(event.get(), [&] {
    eventfd_t count = 0;
    ::eventfd_read(event.get(), &count);
    if (++calls < 3) {
      ::eventfd_write(event.get(), 1);
    } else {
      reactor_->unwatch(event.get());
      ::eventfd_write(event.get(), 1);
      reactor_->stop();
    }
  });
  ::eventfd_write(event.get(), 1);
  reactor_->run();
  EXPECT_EQ(calls, 3);
}

TEST_F(ReactorTest, PollInWaitsForReadable) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  auto body = [&]() -> Task<Result<std::size_t>> {
    auto ready = co_await reactor_->poll_in(event.get());
    co_return ready;
  };
  std::thread other([&] { ::eventfd_write(event.get(), 1); });
  const auto ready = reactor_->block_on(body());
  other.join();
  EXPECT_TRUE(ready);
}

Task<Result<std::size_t>> read_one(Reactor& reactor, int fd, std::byte& into, std::uint64_t offset) {
  auto got = co_await reactor.read(fd, {&into, 1}, offset);
  co_return got;
}

TEST_F(ReactorTest, MoreRequestsThanTheQueueHolds) {
  const test::TempDir dir;
  constexpr std::size_t kRequests = Reactor::kQueueEntries * 5;
  const std::string text = test::sample_bytes(kRequests, 1);
  test::write_text(dir / "file", text);
  const auto fd = open_path(dir / "file", O_RDONLY);
  ASSERT_TRUE(fd);
  std::string back(kRequests, '.');
  std::size_t left = kRequests;
  for (std::size_t i = 0; i < kRequests; ++i) {
    auto& into = std::as_writable_bytes(std::span(back))[i];
    start(read_one(*reactor_, fd->get(), into, i), [&](const Result<std::size_t>& got) {
      EXPECT_TRUE(got && *got == 1);
      if (--left == 0) reactor_->stop();
    });
  }
  reactor_->run();
  EXPECT_EQ(back, text);
}

TEST_F(ReactorTest, CallsWhatIsDueInOrderOfTime) {
  using std::chrono::milliseconds;
  std::string said;
  const auto begin = std::chrono::steady_clock::now();
  reactor_->call_after(milliseconds(20), [&] {
    said += "late";
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(20));
    reactor_->stop();
  });
  reactor_->call_after(milliseconds(1), [&] { said += "early "; });
  reactor_->call_after(milliseconds(0), [&] {
    said += "now ";
    reactor_->call_after(milliseconds(0), [&] { said += "then "; });
  });
  reactor_->run();
  EXPECT_EQ(said, "now then early late");
}

TEST_F(ReactorTest, GoesOnWithOtherWorkUntilSomethingIsDue) {
  unsigned rounds = 0;
  std::function<void()> again = [&] {
    if (++rounds < 1000) reactor_->post(again);
  };
  bool called = false;
  reactor_->call_after(std::chrono::hours(1), [&] { called = true; });
  reactor_->post(again);
  reactor_->post([&] { reactor_->stop(); });
  reactor_->run();
  EXPECT_GE(rounds, 1U);
  EXPECT_FALSE(called) << "an hour is not over";
}

TEST_F(ReactorTest, RunsTheHookAfterABatch) {
  int hooks = 0;
  reactor_->set_after_batch([&] { ++hooks; });
  reactor_->stop();
  reactor_->run();
  EXPECT_GE(hooks, 1);
}

}  // namespace
}  // namespace layerboot
