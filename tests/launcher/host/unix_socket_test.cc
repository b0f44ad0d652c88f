#include "launcher/host/unix_socket.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

TEST(UnixSocket, TalksToItsOwnUser) {
  const ScratchDir scratch;
  const auto path = scratch.path() / "socket";
  EXPECT_EQ(connect_to(path).error().code, ENOENT);
  {
    const auto listener = listen_at(path);
    ASSERT_TRUE(listener);
    EXPECT_TRUE(connect_to(path));
  }
  EXPECT_EQ(connect_to(path).error().code, ECONNREFUSED);
}

TEST(UnixSocket, TalksToNoOtherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  const ScratchDir scratch;
  const auto path = scratch.path() / "socket";
  std::filesystem::permissions(scratch.path(), std::filesystem::perms::all);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setgid(12345) != 0 || ::setuid(12345) != 0) ::_exit(1);
    const auto listener = listen_at(path);
    if (!listener || ::write(ready[1], "!", 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  ::close(ready[1]);
  char word = 0;
  EXPECT_EQ(::read(ready[0], &word, 1), 1);
  const auto refused = connect_to(path);
  EXPECT_TRUE(connect_to_anyone(path));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  ::close(ready[0]);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EPERM);
  EXPECT_NE(refused.error().text.find("user 12345"), std::string::npos) << refused.error().text;
}

}  // namespace
}  // namespace layerboot::launcher
