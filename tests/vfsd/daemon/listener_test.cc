#include "vfsd/daemon/listener.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <fstream>

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
