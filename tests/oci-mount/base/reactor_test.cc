#include "oci-mount/base/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/whole_io.h"
#include "tests/support/image_builder.h"
#include "tests/support/reactor_fixture.h"
#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

class ReactorTest : public test::EngineFixture {};
LAYERBOOT_ON_EACH_ENGINE(ReactorTest);

Task<Result<std::string>> write_then_read(Reactor& reactor, int fd) {
  std::string first = "hello ";
  std::string second = "ring";
  const std::array out{iovec{first.data(), first.size()}, iovec{second.data(), second.size()}};
  auto put = co_await reactor.writev(fd, out, 3);
  if (!put) co_return std::unexpected(put.error());
  auto synced = co_await reactor.fsync(fd, true);
  if (!synced) co_return std::unexpected(synced.error());
  std::string back(*put, '.');
  const iovec into{back.data(), back.size()};
  auto got = co_await reactor.readv(fd, {&into, 1}, 3);
  if (!got) co_return std::unexpected(got.error());
  back.resize(*got);
  co_return back;
}

TEST_P(ReactorTest, WritesAndReadsFiles) {
  const test::TempDir dir;
  const auto fd = open_path(dir / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(fd);
  const auto text = reactor_->block_on(write_then_read(*reactor_, fd->get()));
  ASSERT_TRUE(text) << text.error().describe();
  EXPECT_EQ(*text, "hello ring");
}

TEST_P(ReactorTest, GivesErrnoAsError) {
  auto body = [&]() -> Task<Result<std::size_t>> {
    std::byte buffer{};
    const iovec into{&buffer, 1};
    auto got = co_await reactor_->readv(-1, {&into, 1}, 0);
    co_return got;
  };
  const auto got = reactor_->block_on(body());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, EBADF);
}

TEST_P(ReactorTest, PostedWorkRunsInOrderOnItsThread) {
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

TEST_P(ReactorTest, CallsAWatchEachTimeUntilUnwatched) {
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

Task<Result<std::size_t>> read_one(Reactor& reactor, int fd, std::byte& into, std::uint64_t offset) {
  const iovec slice{&into, 1};
  auto got = co_await reactor.readv(fd, {&slice, 1}, offset);
  co_return got;
}

TEST_P(ReactorTest, MoreRequestsThanTheQueueHolds) {
  const test::TempDir dir;
  constexpr std::size_t kRequests = IoRing::kQueueEntries * 5;
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

TEST_P(ReactorTest, ReadsWhatIsNotInMemory) {
  const test::TempDir dir;
  constexpr std::size_t kBytes = 3U << 20;
  const std::string text = test::sample_bytes(kBytes, 2);
  test::write_text(dir / "file", text);
  const auto fd = open_path(dir / "file", O_RDWR);
  ASSERT_TRUE(fd);
  ASSERT_EQ(::fsync(fd->get()), 0);
  // All but the middle of it: a read that may not wait is given a part, and the rest goes on elsewhere.
  ASSERT_EQ(::posix_fadvise(fd->get(), 0, 1U << 20, POSIX_FADV_DONTNEED), 0);
  ASSERT_EQ(::posix_fadvise(fd->get(), 2U << 20, 0, POSIX_FADV_DONTNEED), 0);
  std::string back(kBytes + 100, '.');
  const iovec into{back.data(), back.size()};
  const auto got = reactor_->block_on(read_whole(*reactor_, fd->get(), {&into, 1}, 0));
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(*got, kBytes);
  back.resize(kBytes);
  EXPECT_TRUE(back == text);
}

TEST_P(ReactorTest, AllocatesAndSyncs) {
  const test::TempDir dir;
  const auto fd = open_path(dir / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(fd);
  const auto code = [&](Reactor::Io io) {
    const auto wait = [](Reactor::Io awaited) -> Task<int> {
      auto done = co_await awaited;
      co_return done ? 0 : done.error().code;
    };
    return reactor_->block_on(wait(std::move(io)));
  };
  EXPECT_EQ(code(reactor_->fallocate(fd->get(), 0, 0, 10'000)), 0);
  EXPECT_EQ(::lseek(fd->get(), 0, SEEK_END), 10'000);
  EXPECT_EQ(code(reactor_->fallocate(fd->get(), FALLOC_FL_KEEP_SIZE, 10'000, 10'000)), 0);
  EXPECT_EQ(::lseek(fd->get(), 0, SEEK_END), 10'000);
  EXPECT_EQ(code(reactor_->fallocate(fd->get(), 0, 0, 0)), EINVAL);
  EXPECT_EQ(code(reactor_->fsync(fd->get(), false)), 0);
  EXPECT_EQ(code(reactor_->fsync(fd->get(), true)), 0);
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(code(reactor_->fsync(event.get(), false)), EINVAL);
  const auto read_only = open_path(dir / "file", O_RDONLY);
  ASSERT_TRUE(read_only);
  char byte = 'x';
  const iovec slice{&byte, 1};
  EXPECT_EQ(code(reactor_->writev(read_only->get(), {&slice, 1}, 0)), EBADF);
}

TEST_P(ReactorTest, AWatchThatIsOverIsNotCalledThoughItsDescriptorWasReady) {
  // Either comes first: both are ready in one batch.
  const UniqueFd one(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  const UniqueFd other(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  int calls = 0;
  const auto end_both = [&] {
    ++calls;
    reactor_->unwatch(one.get());
    reactor_->unwatch(other.get());
    reactor_->stop();
  };
  reactor_->watch(one.get(), end_both);
  reactor_->watch(other.get(), end_both);
  reactor_->run();
  EXPECT_EQ(calls, 1);
}

TEST_P(ReactorTest, ADescriptorMayBeWatchedAnewAtOnce) {
  const UniqueFd event(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  std::string said;
  reactor_->watch(event.get(), [&] { said += "former "; });
  reactor_->watch(event.get(), [&] {
    said += "present ";
    if (said.size() < 20) return reactor_->watch(event.get(), [&] { reactor_->stop(); });
  });
  reactor_->run();
  EXPECT_EQ(said, "present ");
}

TEST_P(ReactorTest, ManyDescriptorsAtOnce) {
  constexpr std::size_t kDescriptors = EpollEngine::kMaxEvents * 2 + 10;
  std::vector<UniqueFd> events;
  std::vector<int> calls(kDescriptors);
  std::size_t left = kDescriptors;
  for (std::size_t i = 0; i < kDescriptors; ++i) {
    events.emplace_back(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    reactor_->watch(events.back().get(), [&, i] {
      ++calls[i];
      if (--left == 0) reactor_->stop();
    });
  }
  reactor_->run();
  EXPECT_EQ(calls, std::vector<int>(kDescriptors, 1));
}

TEST_P(ReactorTest, ADescriptorThatIsNoneIsNeverCalledFor) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const int none = UniqueFd(::dup(event.get())).get();  // closed again
  int calls = 0;
  reactor_->watch(none, [&] { ++calls; });
  reactor_->unwatch(none);
  reactor_->watch(none, [&] { ++calls; });
  reactor_->call_after(std::chrono::milliseconds(5), [&] { reactor_->stop(); });
  reactor_->run();
  reactor_->unwatch(none);
  EXPECT_EQ(calls, 0);
}

TEST(ReactorEngine, AutoTakesWhatThereIs) {
  const bool has_ring = Reactor::create(IoEngine::kUring).has_value();
  const auto reactor = Reactor::create(IoEngine::kAuto);
  ASSERT_TRUE(reactor) << reactor.error().describe();
  EXPECT_EQ((*reactor)->engine(), has_ring ? IoEngine::kUring : IoEngine::kEpoll);
  EXPECT_EQ((*reactor)->engine_refusal().empty(), has_ring);
}

TEST_P(ReactorTest, CallsWhatIsDueInOrderOfTime) {
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

TEST_P(ReactorTest, GoesOnWithOtherWorkUntilSomethingIsDue) {
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

TEST_P(ReactorTest, RunsTheHookAfterABatch) {
  int hooks = 0;
  reactor_->set_after_batch([&] { ++hooks; });
  reactor_->stop();
  reactor_->run();
  EXPECT_GE(hooks, 1);
}

}  // namespace
}  // namespace layerboot
