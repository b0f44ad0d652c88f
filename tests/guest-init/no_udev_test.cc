#include "guest-init/no_udev.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "guest-init/fd.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;

class NoUdev : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "no_udev-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = fs::canonical(pattern);
    fs::create_directories(root_ / "etc/systemd/system");
    fs::create_directories(root_ / "usr/lib/systemd/system/sockets.target.wants");
  }
  void TearDown() override { fs::remove_all(root_); }
  [[nodiscard]] bool udev() const {
    const Fd root(open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return has_udev(root.get());
  }
  // Links as Debian has them, which lead nowhere outside of the image.
  void add_program() const { fs::create_symlink("/bin/udevadm", root_ / "usr/lib/systemd/systemd-udevd"); }
  void add_wish() const {
    fs::create_symlink("../systemd-udevd-control.socket",
                       root_ / "usr/lib/systemd/system/sockets.target.wants/systemd-udevd-control.socket");
  }

  fs::path root_;
};

TEST_F(NoUdev, ProgramAndWishMakeIt) {
  EXPECT_FALSE(udev());
  add_program();
  EXPECT_FALSE(udev()) << "the recipes for containers leave the program";
  add_wish();
  EXPECT_TRUE(udev());
}

TEST_F(NoUdev, WithoutTheProgramTheWishIsNothing) {
  add_wish();
  EXPECT_FALSE(udev());
}

TEST_F(NoUdev, AMaskedOneDoesNotRun) {
  add_program();
  add_wish();
  fs::create_symlink("/dev/null", root_ / "etc/systemd/system/systemd-udevd.service");
  EXPECT_FALSE(udev());
}

}  // namespace
}  // namespace guest_init
