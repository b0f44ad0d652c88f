#include "vfsd/daemon/socket_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/temp_dir.h"

namespace layerboot::vfsd {
namespace {

namespace fs = std::filesystem;

class SocketKeeperTest : public testing::Test {
 protected:
  SocketFile file(const std::string& name) {
    std::ofstream(dir_ / name) << "x";
    auto file = SocketFile::at(dir_ / name);
    EXPECT_TRUE(file && file->hold());
    return *std::move(file);
  }
  Result<SocketKeeper> start() {
    std::vector<SocketFile> files;
    files.push_back(file("one"));
    files.push_back(file("two"));
    return SocketKeeper::start(std::move(files));
  }

  test::TempDir dir_;
};

TEST_F(SocketKeeperTest, RemovesFilesAtTheEnd) {
  {
    const auto keeper = start();
    ASSERT_TRUE(keeper) << keeper.error().describe();
    EXPECT_TRUE(fs::exists(dir_ / "one"));
  }
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

TEST_F(SocketKeeperTest, LeavesWhatHasTakenAName) {
  {
    const auto keeper = start();
    ASSERT_TRUE(keeper);
    fs::remove(dir_ / "one");  // its number is free for the next file, where the file system does such
    std::ofstream(dir_ / "one") << "another daemon's";
  }
  EXPECT_TRUE(fs::exists(dir_ / "one"));
  EXPECT_FALSE(fs::exists(dir_ / "two"));
}

TEST_F(SocketKeeperTest, RemovesFilesOfWhoWasKilled) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd kept(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto keeper = start();
    static_cast<void>(::write(write_end.get(), keeper ? "y" : "n", 1));
    for (;;) ::pause();
  }
  write_end.reset();
  char c = 0;
  ASSERT_EQ(::read(kept.get(), &c, 1), 1);
  EXPECT_EQ(c, 'y');
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  while (!fs::is_empty(dir_.path())) ::poll(nullptr, 0, 1);
}

/// Between a keeper's look at a name and its unlink(2), a daemon that follows could bind that name anew.
TEST_F(SocketKeeperTest, WaitsForWhoIsTakingAName) {
  auto next = SocketFile::at(dir_ / "one");
  ASSERT_TRUE(next);
  std::jthread ending;
  {
    const SocketNamesTurn turn(next->directory.get());
    auto keeper = start();
    ASSERT_TRUE(keeper);
    ending = std::jthread([ends = *std::move(keeper)] {});
    ::poll(nullptr, 0, 50);
    EXPECT_TRUE(fs::exists(dir_ / "one"));
    EXPECT_TRUE(fs::exists(dir_ / "two"));
    fs::remove(dir_ / "one");
    std::ofstream(dir_ / "one") << "the next daemon's";
    ASSERT_TRUE(next->hold());
  }
  ending.join();
  EXPECT_TRUE(fs::exists(dir_ / "one"));
  EXPECT_FALSE(fs::exists(dir_ / "two"));
}

TEST_F(SocketKeeperTest, HasNothingToDoWithoutFiles) { EXPECT_TRUE(SocketKeeper::start({})); }

}  // namespace
}  // namespace layerboot::vfsd
