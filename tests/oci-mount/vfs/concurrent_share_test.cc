// Several request queues at work on one directory of the host.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace layerboot::test
