#include "launcher/cli/cp_command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "guest-init/agent_protocol.h"
#include "guest-init/copy_files.h"
#include "launcher/host/unix_socket.h"
#include "launcher/vm/vm_directory.h"
#include "tests/launcher/scratch_dir.h"
#include "tests/support/tar_builder.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;
using guest_init::FrameType;
using test::TarBuilder;

TEST(CopyEnd, IsAVmsOrAPathHere) {
  EXPECT_EQ(parse_copy_end("web:/etc/hosts"), (CopyEnd{.vm = "web", .path = "/etc/hosts"}));
  EXPECT_EQ(parse_copy_end("web:a:b"), (CopyEnd{.vm = "web", .path = "a:b"}));
  for (const char* here : {"/a:b", "./a:b", "file", "-", "../x:y", ":x", "not a name:x"}) {
    EXPECT_EQ(parse_copy_end(here), (CopyEnd{.vm = "", .path = here})) << here;
  }
}

/// A VM whose agent says what a test wants, whatever it is asked.
class HostileGuest : public testing::Test {
 protected:
  HostileGuest() {
    fs::create_directories(dirs().vms() / "web");
    fs::create_directories(dirs().runtime / "web");
    fs::create_directories(home());
  }
  StateDirs dirs() const {
    return {.data = scratch_.path() / "data",
            .cache = scratch_.path() / "cache",
            .runtime = scratch_.path() / "run"};
  }
  fs::path home() const { return scratch_.path() / "home"; }

  /// `layerboot cp FROM TO`, of which the guest makes `tar`; its exit status.
  Result<int> copy(const std::string& from, const std::string& to, const std::string& tar,
                   std::uint32_t exit_code = 0) const {
    const auto socket = VmPaths(dirs(), "web").agent_socket();
    ::unlink(socket.c_str());
    auto listener = listen_at(socket);
    EXPECT_TRUE(listener);
    ::fcntl(listener->get(), F_SETFL, 0);
    std::string said;
    guest_init::append_frame(said, 0, FrameType::kOutput, tar);
    guest_init::append_frame(said, 0, FrameType::kError, words_);
    guest_init::append_number(said, 0, FrameType::kExit, exit_code);
    std::thread agent([&] { answer(listener->get(), said); });
    Options options;
    options.copy_from = from;
    options.copy_to = to;
    auto done = copy_files(dirs(), options);
    agent.join();
    return done;
  }
  /// Of two connections, since cp looks first whether the VM runs.
  static void answer(int listener, const std::string& said) {
    const UniqueFd first(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    const UniqueFd session(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_EQ(::send(session.get(), said.data(), said.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(said.size()));
    char rest[4096];
    while (::recv(session.get(), rest, sizeof(rest), 0) > 0) continue;
  }

  ScratchDir scratch_;
  std::string words_;  // that it says beside
};

test::TarMember device(std::string name) {
  test::TarMember member;
  member.type = '3';
  member.name = std::move(name);
  member.mode = 0666;
  member.device_major = 1;
  member.device_minor = 5;
  return member;
}

TEST_F(HostileGuest, WritesNothingBesideWhatWasAskedFor) {
  fs::create_directories(home() / ".ssh");
  const auto done = copy("web:/etc/motd", home().string() + "/",
                         TarBuilder().symlink("motd", ".ssh").file("motd/authorized_keys", "mine").finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(*done, 1);
  EXPECT_FALSE(fs::exists(home() / ".ssh/authorized_keys"));
}

TEST_F(HostileGuest, BringsNoRightsAndNoDevices) {
  const auto done =
      copy("web:/bin/tool", home().string(),
           TarBuilder().directory("tool/").file("tool/set-id", "x", 04755).add(device("tool/null")).finish());
  ASSERT_TRUE(done) << done.error().describe();
  struct stat st{};
  ASSERT_EQ(::lstat((home() / "tool/set-id").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755U);
  EXPECT_NE(::lstat((home() / "tool/null").c_str(), &st), 0);
}

TEST_F(HostileGuest, ChangesNoDirectoryThatWasThere) {
  fs::permissions(home(), fs::perms::owner_all);
  const auto done =
      copy("web:/tmp/.", home().string(), TarBuilder().directory("./", 01777).file("./file", "x").finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(*done, 0);
  struct stat st{};
  ASSERT_EQ(::stat(home().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700U);
  EXPECT_TRUE(fs::exists(home() / "file"));
}

TEST_F(HostileGuest, IsNotBelievedThatAllCame) {
  EXPECT_NE(copy("web:/etc/motd", home().string(), "").value_or(1), 0);
  EXPECT_NE(copy("web:/etc/motd", home().string(), TarBuilder().finish()).value_or(1), 0);
  EXPECT_NE(copy("web:/etc/motd", home().string(), std::string(1024, 'x')).value_or(1), 0);
  EXPECT_NE(copy("web:/none", home().string(), "", guest_init::kNothingCopied).value_or(1), 0);
  EXPECT_TRUE(fs::is_empty(home()));
}

TEST_F(HostileGuest, CommandsNoTerminal) {
  words_ = "no such\033[2Jfile\nlayerboot: error: \a";
  testing::internal::CaptureStderr();
  const auto done = copy("web:/none", home().string(), "", guest_init::kNothingCopied);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(done.value_or(-1), 1);
  EXPECT_EQ(said,
            "layerboot: error: the VM says: no such\\033[2Jfile\n"
            "layerboot: error: the VM says: layerboot: error: \\007\n");
}

}  // namespace
}  // namespace layerboot::launcher
