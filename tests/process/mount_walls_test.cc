// What a process still has that serves an image read-only on a directory of the host.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "oci-mount/base/sanitizers.h"
#include "tests/process/mount_support.h"
#include "tests/process/worker_state.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNone = "0000000000000000";
constexpr const char* kReadSearch = "0000000000000004";

class MountWallsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    fs::create_directories(mountpoint());
    fs::create_directories(dir_ / "tree");
    write_text(dir_ / "tree/file", bytes_);
    // As root, who may read it all the same.
    ::chmod((dir_ / "tree/file").c_str(), 0);
    if (::geteuid() == 0 && ::chown((dir_ / "tree/file").c_str(), 12345, 12345) != 0) GTEST_SKIP();
    if (::geteuid() != 0) ::chmod((dir_ / "tree/file").c_str(), 0400);
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(TarBuilder().file("file", bytes_).finish()).write();
  }
  [[nodiscard]] fs::path mountpoint() const { return dir_ / "mnt"; }
  [[nodiscard]] std::string image() const { return "oci:" + (dir_ / "image").string(); }
  [[nodiscard]] std::string directory() const { return "dir:" + (dir_ / "tree").string(); }
  static void expect_walls(const Mounted& mounted, const char* rights) {
    for (const auto& task : fs::directory_iterator(proc_path(mounted.pid(), "task"))) {
      auto status = status_of(std::stoi(task.path().filename()));
      EXPECT_EQ(status["CapEff"], rights);
      EXPECT_EQ(status["CapPrm"], rights);
      EXPECT_EQ(status["NoNewPrivs"], "1");
      EXPECT_FALSE(status["Uid"].starts_with("0\t")) << "root owns root's files: " << status["Uid"];
      if (!kSanitizer) {
        EXPECT_EQ(status["Seccomp"], "2") << task.path();
      }
    }
  }
  void expect_readable(const Mounted& mounted) const {
    ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
    EXPECT_TRUE(read_text(mountpoint() / "file") == bytes_);
  }

  TempDir dir_;
  std::string bytes_ = sample_bytes(3'000'000, 1);
};

TEST_F(MountWallsTest, AnImageIsServedWithoutRights) {
  Mounted mounted({image()}, dir_ / "cache", mountpoint());
  expect_readable(mounted);
  expect_walls(mounted, kNone);
  EXPECT_EQ(mounted.stop(SIGTERM), 0) << mounted.messages();
  EXPECT_FALSE(is_mountpoint(mountpoint()));
}

TEST_F(MountWallsTest, OfADirectoryFilesAreOpened) {
  Mounted mounted({directory()}, dir_ / "cache", mountpoint());
  expect_readable(mounted);
  expect_walls(mounted, ::geteuid() == 0 ? kReadSearch : kNone);
  EXPECT_EQ(mounted.stop(SIGTERM), 0) << mounted.messages();
  EXPECT_FALSE(is_mountpoint(mountpoint()));
}

TEST_F(MountWallsTest, WhoUnmountsHasNothingElse) {
  Mounted mounted({image()}, dir_ / "cache", mountpoint());
  expect_readable(mounted);
  const auto children = children_of(mounted.pid());
  ASSERT_EQ(children.size(), 1U);
  EXPECT_EQ(status_of(children[0])["Name"], "oci-mount-keep");
  for (const auto& fd : fs::directory_iterator(proc_path(children[0], "fd"))) {
    const std::string file = fs::read_symlink(fd.path());
    EXPECT_TRUE(file == "/dev/null" || file.starts_with("pipe:")) << file;
  }
  // It ends with whom it is for, who alone can serve what is mounted.
  EXPECT_EQ(mounted.stop(SIGKILL), -SIGKILL);
  EXPECT_TRUE(comes_true([&] {
    const auto state = status_of(children[0])["State"];
    return state.empty() || state.starts_with("Z");
  }));
}

TEST_F(MountWallsTest, AnotherMountInItsPlaceStays) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root";
  Mounted mounted({image()}, dir_ / "cache", mountpoint());
  expect_readable(mounted);
  ASSERT_EQ(run_program({"umount", mountpoint().string()}, dir_ / "cache").exit_code, 0);
  ASSERT_EQ(run_program({"mount", "-t", "tmpfs", "none", mountpoint().string()}, dir_ / "cache").exit_code,
            0);
  EXPECT_EQ(mounted.wait(), 0) << mounted.messages();
  EXPECT_TRUE(is_mountpoint(mountpoint()));
  EXPECT_EQ(run_program({"umount", mountpoint().string()}, dir_ / "cache").exit_code, 0);
}

}  // namespace
}  // namespace layerboot::test
