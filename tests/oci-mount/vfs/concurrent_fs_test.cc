// Several request queues at work on one file system.
#include <fcntl.h>
#include <linux/fs.h>

#include <atomic>
#include <thread>

#include "tests/oci-mount/vfs/random_client.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

using ConcurrentFsTest = WritableFsTest;

TEST_F(ConcurrentFsTest, ManyWritesToOneFileOfTheImageMakeOneCopy) {
  constexpr int kThreads = 4;
  constexpr int kWritesEach = 8;
  const auto node = drive().acquire("etc/big");
  std::vector<std::thread> threads;
  std::atomic<int> failed = 0;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto reactor = *Reactor::create();
      int done = 0;
      char byte = 'x';
      const iovec piece{&byte, 1};
      // All started before any is waited for.
      for (int i = 0; i < kWritesEach; ++i) {
        const auto offset = static_cast<std::uint64_t>(t * kWritesEach + i) * 1000;
        start(fs->write(*reactor, node, offset, {&piece, 1}, vfs::Writer::kPrivileged),
              [&](Result<std::size_t> put) {
                if (!put || *put != 1) ++failed;
                if (++done == kWritesEach) reactor->stop();
              });
      }
      reactor->run();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  std::string expected = lower_big();
  for (std::size_t i = 0; i < kThreads * kWritesEach; ++i) expected[i * 1000] = 'x';
  EXPECT_TRUE(drive().read("etc/big") == expected);
  EXPECT_EQ(upper_entries(), 2U);
  EXPECT_TRUE(std::filesystem::is_empty(directory / "vm/work"));
  EXPECT_EQ(booked().inodes, 2U) << "one copy, and its directory";
}

TEST_F(ConcurrentFsTest, ACopyThatFailsFailsAllWhoWait) {
  open_writable(1 << 20, 100);
  const auto node = drive().acquire("etc/big");
  std::vector<int> codes;
  char byte = 'x';
  const iovec piece{&byte, 1};
  for (int i = 0; i < 8; ++i) {
    start(fs->write(*drive().reactor, node, 0, {&piece, 1}, vfs::Writer::kPrivileged),
          [&](const Result<std::size_t>& put) {
            codes.push_back(code_of(put));
            if (codes.size() == 8) drive().reactor->stop();
          });
  }
  drive().reactor->run();
  EXPECT_EQ(codes, std::vector<int>(8, ENOSPC));
  restart();
}

TEST_F(ConcurrentFsTest, RandomRequestsFromSeveralQueues) {
  run_random_clients(*fs);
  // Whatever was done: it means the same after a restart, and the books are right.
  const auto before = drive().snapshot();
  expect_usage_agrees();
  fs->reset();
  expect_usage_agrees();
  const auto after_reset = drive().snapshot();
  restart();
  EXPECT_EQ(drive().snapshot(), after_reset);
  for (const auto& [path, line] : before) EXPECT_TRUE(after_reset.contains(path)) << path;
  EXPECT_EQ(before.size(), after_reset.size());
}

// A client that forgets a node while its own request on it is under way.
TEST_F(ConcurrentFsTest, ForgetWhileARequestIsUnderWay) {
  constexpr int kRounds = 300;
  std::atomic<vfs::NodeId> target = 0;
  std::atomic<bool> over = false;
  std::thread forgetter([&] {
    while (!over) {
      if (const auto node = target.exchange(0); node != 0) fs->forget(node, 10);
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    const auto made = fs->create(vfs::kRootId, "f" + std::to_string(i % 7), 0644, false, {});
    ASSERT_TRUE(made);
    target = made->id;
    static_cast<void>(write_node(made->id, 0, std::string(5000, 'x')));
    vfs::AttrChange owner;
    owner.uid = 5;
    static_cast<void>(wait(fs->setattr(*drive().reactor, made->id, owner)));
    if (i % 5 == 0) static_cast<void>(fs->unlink(vfs::kRootId, "f" + std::to_string(i % 7)));
    static_cast<void>(wait(fs->fallocate(*drive().reactor, made->id, 0, 0, 20'000)));
  }
  over = true;
  forgetter.join();
  struct stat work{};
  ASSERT_EQ(::stat((directory / "vm/work").c_str(), &work), 0);
  EXPECT_EQ(work.st_uid, ::geteuid()) << "the work directory is not the guest's to change";
}

}  // namespace
}  // namespace layerboot::test
