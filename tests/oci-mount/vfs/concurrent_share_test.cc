// Several request queues at work on one directory of the host.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>

#include "oci-mount/vfs/share_fs.h"
#include "tests/oci-mount/vfs/fs_driver.h"
#include "tests/oci-mount/vfs/random_client.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class ConcurrentShareTest : public testing::Test {
 protected:
  void SetUp() override {
    ::umask(0);
    fs::create_directory(host());
    restart();
  }
  void restart() {
    share_.reset();
    auto share = vfs::ShareFs::open({.directory = host()}, workers_, memory_);
    ASSERT_TRUE(share) << share.error().describe();
    share_ = std::move(*share);
  }
  [[nodiscard]] fs::path host() const { return dir_ / "share"; }
  Snapshot shown() { return FsDriver(*share_).snapshot(); }

  const TempDir dir_;
  MemoryBudget memory_;
  WorkerPool workers_{1};
  std::unique_ptr<vfs::ShareFs> share_;
};

TEST_F(ConcurrentShareTest, RandomRequestsFromSeveralQueues) {
  run_random_clients(*share_);
  const auto before = shown();
  EXPECT_GT(before.size(), 1U);
  restart();
  EXPECT_EQ(shown(), before);
}

// The directories that the clients are in become links that lead out, and come back.
TEST_F(ConcurrentShareTest, NoWayLeadsOutWhileTheHostChangesIt) {
  const fs::path outside = dir_ / "outside";
  fs::create_directory(outside);
  std::ofstream(outside / "a") << "not theirs";
  {
    const std::jthread swapper([&](const std::stop_token& over) {
      std::error_code ignored;
      while (!over.stop_requested()) {
        for (const char* name : {"etc", "deep", "links", "n1"}) {
          fs::rename(host() / name, host() / "aside", ignored);
          fs::create_directory_symlink(outside, host() / name, ignored);
          std::this_thread::yield();
          fs::remove(host() / name, ignored);
          fs::rename(host() / "aside", host() / name, ignored);
        }
      }
    });
    run_random_clients(*share_);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(outside), fs::directory_iterator()), 1);
  std::ifstream file(outside / "a");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "not theirs");
  const auto before = shown();
  restart();
  EXPECT_EQ(shown(), before);
}

// A neighbour, whose the directory is, puts one of root's into the place of what the client makes for him.
TEST_F(ConcurrentShareTest, WhatOthersPutThereIsNotGivenAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "gives files away, which takes root";
  constexpr int kRounds = 2000;
  constexpr unsigned kNeighbour = 1000;
  fs::create_directory(host() / "roots");
  fs::create_directory(host() / "roots/inside");
  ASSERT_EQ(::chmod(host().c_str(), 0777), 0);
  // The same directory for both questions, whatever it is called by then.
  const auto is_roots = [&](const char* name) {
    struct stat st{};
    const UniqueFd directory(::open((host() / name).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::faccessat(directory.get(), "inside", F_OK, 0) != 0) return true;
    return ::fstat(directory.get(), &st) == 0 && st.st_uid == 0;
  };
  const std::jthread swapper([&](const std::stop_token& over) {
    while (!over.stop_requested()) {
      ::renameat2(AT_FDCWD, (host() / "x").c_str(), AT_FDCWD, (host() / "roots").c_str(), RENAME_EXCHANGE);
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    const auto made =
        share_->mkdir(vfs::kRootId, "x", 0700, {.uid = kNeighbour, .gid = kNeighbour, .umask = 0});
    if (made) share_->forget(made->id, 1);
    ASSERT_TRUE(is_roots("x") && is_roots("roots")) << "in round " << i;
    for (const char* name : {"x", "roots"}) static_cast<void>(share_->rmdir(vfs::kRootId, name));
    std::error_code ignored;
    if (!fs::exists(host() / "roots")) fs::rename(host() / "x", host() / "roots", ignored);
  }
}

}  // namespace
}  // namespace layerboot::test
