// A mounted image with an upper directory, as the kernel's other parts use it: an overlayfs that has its own
// upper on it, as Docker's overlay2 on a VM's root; mappings, appending and direct I/O.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <span>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/support/direct_writes.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class MountKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(TarBuilder()
                             .directory("lower")
                             .file("lower/file", "lower\n")
                             .file("lower/moves", "moves\n")
                             .symlink("lower/link", "file")
                             .directory("lower/dir")
                             .file("lower/dir/inside", "inside\n")
                             .directory("lower/gone")
                             .directory("up")
                             .directory("work")
                             .file("big", sample_bytes(1 << 20, 4))
                             .finish());
    image.write();
    fs::create_directories(mountpoint());
    fs::create_directories(nested());
  }
  std::vector<std::string> arguments() const {
    return {"oci:" + (dir_ / "image").string(), "--upper", (dir_ / "upper").string(), "--quota", "64M"};
  }
  fs::path mountpoint() const { return dir_ / "mnt"; }
  fs::path nested() const { return dir_ / "nested"; }
  fs::path cache() const { return dir_ / "cache"; }
  bool mount_nested() const {
    const auto at = mountpoint().string();
    const std::string options =
        "lowerdir=" + at + "/lower,upperdir=" + at + "/up,workdir=" + at + "/work,redirect_dir=on";
    return ::mount("overlay", nested().c_str(), "overlay", 0, options.c_str()) == 0;
  }
  static std::set<std::string> names(const fs::path& directory) {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory)) found.insert(entry.path().filename());
    return found;
  }

  TempDir dir_;
};

TEST_F(MountKernelTest, AnOverlayfsHasItsUpperHere) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting takes root";
  {
    const Mounted mounted(arguments(), cache(), mountpoint());
    ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
    if (!mount_nested()) GTEST_SKIP() << "this machine can't mount overlayfs";
    fs::remove(nested() / "file");
    fs::rename(nested() / "moves", nested() / "moved");
    fs::rename(nested() / "dir", nested() / "renamed");
    fs::remove(nested() / "gone");
    fs::create_directory(nested() / "gone");
    EXPECT_EQ(::lchown((nested() / "link").c_str(), 5, 6), 0);
    std::ofstream(nested() / "renamed/inside", std::ios::app) << "more\n";
    std::ofstream(nested() / "new") << "new\n";
    EXPECT_EQ(::umount2(nested().c_str(), 0), 0);
    struct stat st{};
    ASSERT_EQ(::lstat((mountpoint() / "up/file").c_str(), &st), 0);
    EXPECT_TRUE(S_ISCHR(st.st_mode) && st.st_rdev == 0) << "the nested overlayfs's whiteout";
  }
  // After a restart, and so out of what lies on the host.
  const Mounted mounted(arguments(), cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
  ASSERT_TRUE(mount_nested());
  EXPECT_EQ(names(nested()), (std::set<std::string>{"moved", "renamed", "gone", "link", "new"}));
  EXPECT_EQ(read_text(nested() / "renamed/inside"), "inside\nmore\n");
  EXPECT_EQ(read_text(nested() / "moved"), "moves\n");
  EXPECT_TRUE(names(nested() / "gone").empty());
  struct stat st{};
  EXPECT_EQ(::lstat((nested() / "link").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 5U);
  EXPECT_EQ(fs::read_symlink(nested() / "link"), "file");
  EXPECT_EQ(::umount2(nested().c_str(), 0), 0);
}

/// With its upper on another file system it has one number space for both only if ours leave its bits free.
TEST_F(MountKernelTest, AnOverlayfsOverThisNumbersItsFilesInOneSpace) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting takes root";
  const Mounted mounted(arguments(), cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
  const fs::path disk = dir_ / "disk";
  fs::create_directory(disk);
  ASSERT_EQ(::mount("none", disk.c_str(), "tmpfs", 0, "size=8m"), 0);
  fs::create_directory(disk / "up");
  fs::create_directory(disk / "work");
  const std::string options = str_cat("lowerdir=", mountpoint().string(), "/lower,upperdir=", disk.string(),
                                      "/up,workdir=", disk.string(), "/work,xino=on");
  const bool has_overlay = ::mount("overlay", nested().c_str(), "overlay", 0, options.c_str()) == 0;
  if (has_overlay) {
    struct stat top{};
    struct stat before{};
    struct stat after{};
    EXPECT_EQ(::stat(nested().c_str(), &top), 0);
    EXPECT_EQ(::stat((nested() / "file").c_str(), &before), 0);
    EXPECT_EQ(before.st_dev, top.st_dev);
    std::ofstream(nested() / "file", std::ios::app) << "more\n";
    EXPECT_EQ(::stat((nested() / "file").c_str(), &after), 0);
    EXPECT_EQ(after.st_dev, before.st_dev);
    EXPECT_EQ(after.st_ino, before.st_ino);
    EXPECT_EQ(after.st_size, before.st_size + 5);
    EXPECT_EQ(::umount2(nested().c_str(), 0), 0);
  }
  EXPECT_EQ(::umount2(disk.c_str(), 0), 0);
  if (!has_overlay) GTEST_SKIP() << "this machine can't mount overlayfs";
}

TEST_F(MountKernelTest, MapsAppendsAndWritesDirectly) {
  constexpr std::size_t kPage = 4096;
  auto expected = sample_bytes(1 << 20, 4);
  {
    const Mounted mounted(arguments(), cache(), mountpoint());
    ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
    const UniqueFd file(::open((mountpoint() / "big").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(file);
    void* const memory = ::mmap(nullptr, expected.size(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ASSERT_NE(memory, MAP_FAILED);
    const std::span bytes(static_cast<char*>(memory), expected.size());
    EXPECT_EQ(std::string_view(bytes.data(), bytes.size()), expected);
    std::ranges::copy(std::string_view("mapped"), bytes.begin() + 5000);
    expected.replace(5000, 6, "mapped");
    EXPECT_EQ(::msync(memory, expected.size(), MS_SYNC), 0);
    EXPECT_EQ(::munmap(memory, expected.size()), 0);
    for (int i = 0; i < 2; ++i) {
      const UniqueFd appending(::open((mountpoint() / "big").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
      EXPECT_EQ(::write(appending.get(), "appended", 8), 8);
      expected += "appended";
    }
    const UniqueFd direct(::open((mountpoint() / "big").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    ASSERT_TRUE(direct);
    const std::unique_ptr<void, decltype(&std::free)> page(std::aligned_alloc(kPage, kPage), &std::free);
    std::fill_n(static_cast<char*>(page.get()), kPage, 'd');
    EXPECT_EQ(::pwrite(direct.get(), page.get(), kPage, 2 * kPage), static_cast<ssize_t>(kPage));
    expected.replace(2 * kPage, kPage, std::string(kPage, 'd'));
    EXPECT_EQ(::pread(direct.get(), page.get(), kPage, kPage), static_cast<ssize_t>(kPage));
    EXPECT_EQ(std::string_view(static_cast<char*>(page.get()), kPage), expected.substr(kPage, kPage));
  }
  const Mounted again(arguments(), cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << again.messages();
  EXPECT_TRUE(read_text(mountpoint() / "big") == expected);
}

TEST_F(MountKernelTest, DirectWritesLeaveNoStalePages) {
  const Mounted mounted(arguments(), cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
  const auto seen = write_directly_beside_reads(mountpoint() / "direct", 40);
  EXPECT_EQ(seen.error, "");
  EXPECT_EQ(seen.stale_rounds, 0U);
  EXPECT_EQ(seen.stale_pages, 0U);
}

}  // namespace
}  // namespace layerboot::test
