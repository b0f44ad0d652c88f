#include "guest-init/init_choice.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace guest_init {
namespace {

namespace fs = std::filesystem;

class InitChoice : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "init_choice-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = fs::canonical(pattern);
    fs::create_directories(root_ / "usr/lib/systemd");
    fs::create_directories(root_ / "usr/sbin");
  }
  void TearDown() override { fs::remove_all(root_); }

  void add_file(const std::string& path, bool executable) {
    std::ofstream(root_ / path) << "x";
    fs::permissions(root_ / path, executable ? fs::perms(0755) : fs::perms(0644));
  }
  [[nodiscard]] std::string resolve(std::string_view path) const {
    return resolve_program(root_.string(), path);
  }

  fs::path root_;
};

TEST_F(InitChoice, FollowsAbsoluteLinksInsideTheRoot) {
  add_file("usr/lib/systemd/systemd", true);
  fs::create_symlink("usr/sbin", root_ / "sbin");
  fs::create_symlink("/lib/systemd/systemd", root_ / "usr/sbin/init");
  fs::create_symlink("usr/lib", root_ / "lib");
  EXPECT_EQ(resolve("/sbin/init"), (root_ / "usr/lib/systemd/systemd").string());
}

TEST_F(InitChoice, NeverLeavesTheRoot) {
  fs::create_symlink("../../../../../../../../bin/sh", root_ / "usr/sbin/init");
  EXPECT_EQ(resolve("/usr/sbin/init"), "");
}

TEST_F(InitChoice, WantsAnExecutableFile) {
  add_file("usr/sbin/init", false);
  EXPECT_EQ(resolve("/usr/sbin/init"), "");
  EXPECT_EQ(resolve("/usr/lib/systemd"), "");
  EXPECT_EQ(resolve("/usr/sbin/absent"), "");
  EXPECT_EQ(resolve(""), "");
}

TEST_F(InitChoice, ALinkToItselfIsNoInit) {
  fs::create_symlink("init", root_ / "usr/sbin/init");
  EXPECT_EQ(resolve("/usr/sbin/init"), "");
}

TEST(IsShell, KnowsShellsByName) {
  for (const char* shell : {"/bin/sh", "/usr/bin/bash", "/bin/dash", "zsh", "/bin/ash"})
    EXPECT_TRUE(is_shell(shell)) << shell;
  for (const char* other : {"/sbin/init", "/lib/systemd/systemd", "", "/usr/sbin/sshd", "/bin/"})
    EXPECT_FALSE(is_shell(other)) << other;
}

using Words = std::vector<std::string>;

TEST(ChooseKind, TheImagesCommandDecides) {
  EXPECT_EQ(choose_kind(RunChoice::kAuto, Words{"/sbin/init"}, false, true), GuestKind::kInit);
  EXPECT_EQ(choose_kind(RunChoice::kAuto, Words{"bash"}, true, true), GuestKind::kInit)
      << "systemd as /sbin/init is there to boot";
  EXPECT_EQ(choose_kind(RunChoice::kAuto, Words{"/bin/sh"}, false, true), GuestKind::kCommand)
      << "busybox's init is in images that never boot";
  EXPECT_EQ(choose_kind(RunChoice::kAuto, Words{}, false, true), GuestKind::kInit);
  EXPECT_EQ(choose_kind(RunChoice::kAuto, Words{}, false, false), GuestKind::kCommand);
}

TEST(ChooseKind, ThePersonDecidesAboveAll) {
  EXPECT_EQ(choose_kind(RunChoice::kCommand, Words{"/sbin/init"}, true, true), GuestKind::kCommand);
  EXPECT_EQ(choose_kind(RunChoice::kInit, Words{"sh"}, false, true), GuestKind::kInit);
}

}  // namespace
}  // namespace guest_init
