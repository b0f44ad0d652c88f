#include "vfsd/daemon/listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <utility>
#include <vector>

#include "tests/support/fake_guest.h"
#include "tests/support/temp_dir.h"

namespace layerboot::vfsd {
namespace {

class ListenerTest : public testing::Test {
 protected:
  test::TempDir directory;
  const std::filesystem::path path = directory / "s";
};

TEST_F(ListenerTest, ListensAndCleansUp) {
  {
    auto listener = Listener::bind(path);
    ASSERT_TRUE(listener) << listener.error().describe();
    EXPECT_TRUE(test::FakeGuest::connect(path, {}));
    EXPECT_FALSE(listener->is_connected());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(ListenerTest, LeavesALiveDaemonAlone) {
  const auto first = Listener::bind(path);
  ASSERT_TRUE(first);
  const auto second = Listener::bind(path);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_NE(second.error().text.find(path.native()), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(ListenerTest, ReplacesWhatADeadDaemonLeft) {
  {
    auto dead = Listener::bind(path);
    ASSERT_TRUE(dead);
    std::filesystem::rename(path, directory / "kept");
  }
  std::filesystem::rename(directory / "kept", path);
  EXPECT_TRUE(Listener::bind(path));
}

/// A supervisor starts a daemon again at once, while the keeper of the one that was killed removes its file.
TEST_F(ListenerTest, FollowsAKilledDaemonAtOnce) {
  for (int round = 0; round < 200; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd ready(ends[0]);
    UniqueFd tell(ends[1]);
    const pid_t daemon = ::fork();
    if (daemon == 0) {
      auto listener = Listener::bind(path);
      if (!listener) {
        std::cerr << listener.error().describe() << "\n";
        ::_exit(1);
      }
      std::vector<SocketFile> files;
      files.push_back(*listener->take_file());
      const auto keeper = SocketKeeper::start(std::move(files));
      static_cast<void>(::write(tell.get(), "y", 1));
      for (;;) ::pause();
    }
    tell.reset();
    char c = 0;
    const bool bound = ::read(ready.get(), &c, 1) == 1;
    const bool there = std::filesystem::exists(path);
    ::kill(daemon, SIGKILL);
    ::waitpid(daemon, nullptr, 0);
    ASSERT_TRUE(bound && there) << "round " << round;
  }
  while (std::filesystem::exists(path)) ::poll(nullptr, 0, 1);
}

TEST_F(ListenerTest, TouchesNoOtherFile) {
  std::ofstream(path) << "precious";
  const auto listener = Listener::bind(path);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, EEXIST);
  EXPECT_EQ(std::filesystem::file_size(path), 8U);
}

TEST_F(ListenerTest, RefusesPathsThatNoSocketCanHave) {
  EXPECT_EQ(Listener::bind(directory / std::string(120, 'x')).error().code, ENAMETOOLONG);
  EXPECT_EQ(Listener::bind(path.parent_path() / "none" / "s").error().code, ENOENT);
}

mode_t mode_of(const std::filesystem::path& path) {
  struct stat st{};
  return ::stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
}

TEST_F(ListenerTest, IsForItsOwnerWhateverTheUmask) {
  const mode_t before = ::umask(0);
  const auto listener = Listener::bind(path);
  EXPECT_EQ(::umask(before), 0U) << "the umask is as it was";
  ASSERT_TRUE(listener);
  EXPECT_EQ(mode_of(path), 0600U);
}

TEST_F(ListenerTest, IsForAGroup) {
  const auto listener = Listener::bind(path, "--socket-path", ::getegid());
  ASSERT_TRUE(listener) << listener.error().describe();
  EXPECT_EQ(mode_of(path), 0660U);
  struct stat st{};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_gid, ::getegid());
}

TEST_F(ListenerTest, LeavesNothingWhereAGroupCanNotBeHad) {
  if (::geteuid() == 0) GTEST_SKIP() << "root can give files to any group";
  const auto listener = Listener::bind(path, "--socket-path", 0);
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().text.find(path.native()), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path));
}

// Others get as far as the question only where a socket's mode lets them: a group's member, or one who has
// been in it.
TEST_F(ListenerTest, TellsPeersApart) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd ends[] = {UniqueFd(pair[0]), UniqueFd(pair[1])};
  const uid_t stranger = ::geteuid() + 1;
  EXPECT_TRUE((PeerRule{.owner = ::geteuid(), .group = {}}.check(pair[0])));
  EXPECT_EQ((PeerRule{.owner = stranger, .group = {}}.check(pair[0]).has_value()), ::geteuid() == 0);
  EXPECT_TRUE((PeerRule{.owner = stranger, .group = ::getegid()}.check(pair[0])));
  if (::geteuid() == 0) return;
  const auto refused = PeerRule{.owner = stranger, .group = ::getegid() + 1}.check(pair[0]);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EACCES);
}

TEST_F(ListenerTest, TakesInheritedSockets) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd other(pair[0]);
  auto connected = Listener::adopt(pair[1]);
  ASSERT_TRUE(connected);
  EXPECT_TRUE(connected->is_connected());
  EXPECT_FALSE(Listener::adopt(12345));
}

}  // namespace
}  // namespace layerboot::vfsd
