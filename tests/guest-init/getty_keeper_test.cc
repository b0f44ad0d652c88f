#include "guest-init/getty_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "guest-init/fd.h"
#include "tests/support/temp_dir.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;

TEST(GettyKeeper, IsForInitsWithoutAnInittabWhoseServicesHaveNoSerialLine) {
  const layerboot::test::TempDir dir;
  const auto needs = [&dir](std::string_view init) {
    const Fd root(open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return needs_getty_keeper(root.get(), init);
  };
  EXPECT_TRUE(needs("/sbin/openrc-init"));
  EXPECT_TRUE(needs("runit-init"));
  for (const char* init : {"/sbin/init", "/lib/systemd/systemd", "/bin/busybox", "", "/sbin/openrc-init/x"}) {
    EXPECT_FALSE(needs(init)) << init;
  }
  fs::create_directories(dir / "etc/runlevels/default");
  std::ofstream(dir / "etc/runlevels/default/agetty.tty1") << "";
  EXPECT_TRUE(needs("/sbin/openrc-init"));
  std::ofstream(dir / "etc/runlevels/default/agetty.ttyS0") << "";
  EXPECT_FALSE(needs("/sbin/openrc-init"));
}

TEST(GettyKeeper, ThePromptIsOnThisMachinesSerialLine) {
  const layerboot::test::TempDir dir;
  const auto words = [&dir](bool autologin) {
    const Fd root(open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    std::string text;
    for (const std::string& word : getty_words(root.get(), "ttyAMA0", autologin)) text += word + " ";
    return text;
  };
  const auto add = [&dir](const char* path) {
    fs::create_directories((dir / path).parent_path());
    std::ofstream(dir / path) << "";
    fs::permissions(dir / path, fs::perms::owner_all);
  };
  EXPECT_EQ(words(false), "");
  add("usr/sbin/getty");
  EXPECT_EQ(words(false), "/usr/sbin/getty -L 115200 ttyAMA0 vt220 ");
  add("bin/login");
  EXPECT_EQ(words(true), "/bin/login -f root ");
  add("sbin/agetty");
  EXPECT_EQ(words(false), "/sbin/agetty --keep-baud 115200,38400,9600 ttyAMA0 vt220 ");
  EXPECT_EQ(words(true), "/sbin/agetty --autologin root --keep-baud 115200,38400,9600 ttyAMA0 vt220 ");
}

}  // namespace
}  // namespace guest_init
