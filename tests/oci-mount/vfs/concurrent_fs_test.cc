// Several request queues at work on one file system.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

using ConcurrentFsTest = WritableFsTest;

std::uint64_t seed() {
  const char* text = std::getenv("LAYERBOOT_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

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
        start(fs->write(*reactor, node, offset, {&piece, 1}, false), [&](Result<std::size_t> put) {
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
    start(fs->write(*drive().reactor, node, 0, {&piece, 1}, false), [&](const Result<std::size_t>& put) {
      codes.push_back(code_of(put));
      if (codes.size() == 8) drive().reactor->stop();
    });
  }
  drive().reactor->run();
  EXPECT_EQ(codes, std::vector<int>(8, ENOSPC));
  restart();
}

/// One client's random requests; it keeps some nodes, and now and then forgets more than it should.
class RandomClient {
 public:
  RandomClient(vfs::FileSystem& file_system, std::uint64_t seed) : fs_(file_system), random_(seed) {}

  void run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    for (const auto node : held_) fs_.forget(node, 1);
  }

 private:
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  std::string name() {
    static const char* const kNames[] = {"etc",  "small", "big", "a",  "b",  "c",
                                         "deep", "er",    "n1",  "n2", "n3", "links"};
    return kNames[pick(std::size(kNames))];
  }
  vfs::NodeId node() { return held_.empty() || pick(8) == 0 ? vfs::kRootId : held_[pick(held_.size())]; }
  void keep(const Result<vfs::Entry>& entry) {
    if (!entry || entry->id == 0) return;
    held_.push_back(entry->id);
    if (held_.size() > 40) {
      fs_.forget(held_.front(), 1);
      held_.erase(held_.begin());
    }
  }
  template <typename T>
  T wait(Task<T> task) {
    return ring_->block_on(std::move(task));
  }

  void step() {
    const auto at = node();
    const auto to = node();
    std::string bytes(pick(20'000) + 1, 'x');
    const iovec piece{bytes.data(), bytes.size()};
    switch (pick(18)) {
      case 0:
        return keep(fs_.create(at, name(), 0644, pick(2) == 0, {}));
      case 1:
        return keep(fs_.mkdir(at, name(), 0755, {}));
      case 2:
        return keep(fs_.symlink(at, name(), "target", {}));
      case 3:
        return keep(fs_.tmpfile(at, 0600, {}));
      case 4:
        return keep(wait(fs_.link(*ring_, at, to, name())));
      case 5:
        return ignore(fs_.unlink(at, name()));
      case 6:
        return ignore(fs_.rmdir(at, name()));
      case 7:
        return ignore(wait(fs_.rename(*ring_, at, name(), to, name(), static_cast<std::uint32_t>(pick(3)))));
      case 8:
        return ignore(wait(fs_.write(*ring_, at, pick(100'000), {&piece, 1}, pick(2) == 0)));
      case 9:
        return ignore(wait(fs_.read(*ring_, at, pick(100'000), {&piece, 1})));
      case 10: {
        vfs::AttrChange change;
        if (pick(2) == 0) change.size_bytes = pick(50'000);
        if (pick(2) == 0) change.mode = 0600;
        return ignore(wait(fs_.setattr(*ring_, at, change)));
      }
      case 11:
        return ignore(
            wait(fs_.setxattr(*ring_, at, "user.x", bytes.substr(0, pick(3000) % bytes.size()), 0)));
      case 12:
        return ignore(wait(fs_.fsync(*ring_, at, true)));
      case 13:
        return ignore(
            wait(fs_.fallocate(*ring_, at, pick(2) == 0 ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0,
                               pick(50'000), 10'000)));
      case 14:
        return fs_.forget(at, pick(3));
      case 15:
        return ignore(fs_.try_read(at, pick(100'000), {&piece, 1}));
      case 16: {
        std::vector<vfs::NodeId> given;
        ignore(fs_.readdir(at, 0, true, [&](const vfs::Dirent&, const vfs::Entry& entry) {
          if (entry.id != 0) given.push_back(entry.id);
          return given.size() < 5;
        }));
        for (const auto id : given) fs_.forget(id, 1);
        return;
      }
      default:
        return keep(fs_.lookup(at, name()));
    }
  }
  template <typename T>
  static void ignore(const Result<T>&) {}

  vfs::FileSystem& fs_;
  std::mt19937_64 random_;
  std::unique_ptr<Reactor> ring_ = *Reactor::create();
  std::vector<vfs::NodeId> held_;
};

TEST_F(ConcurrentFsTest, RandomRequestsFromSeveralQueues) {
  const auto base = seed();
  std::cout << "seed " << base << " (LAYERBOOT_TEST_SEED)\n";
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] { RandomClient(*fs, base + t).run(1500); });
  }
  for (auto& thread : threads) thread.join();
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
