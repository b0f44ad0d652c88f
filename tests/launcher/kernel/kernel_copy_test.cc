#include "launcher/kernel/kernel_copy.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/host/run_tool.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class KernelCopy : public ScratchTest {
 protected:
  void SetUp() override { write(from_ / "kernel/fs/a.ko", "module"); }
  /// What was left out, sorted.
  std::vector<std::string> copy() {
    auto left_out = copy_kernel_tree(from_, to_, {"build", "vmlinuz"});
    EXPECT_TRUE(left_out) << left_out.error().text;
    if (!left_out) return {};
    std::ranges::sort(*left_out);
    return *left_out;
  }
  static mode_t mode_of(const fs::path& path) {
    struct stat st{};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st.st_mode & 07777;
  }
  [[nodiscard]] bool is_there(const char* name) const { return fs::exists(fs::symlink_status(to_ / name)); }

  const InterruptScope interrupts_;
  const fs::path from_ = scratch_ / "image/6.1";
  const fs::path to_ = scratch_ / "6.1";
};

TEST_F(KernelCopy, TakesFilesDirectoriesAndLinksToFiles) {
  ::chmod((from_ / "kernel/fs/a.ko").c_str(), 04044);
  ::chmod((from_ / "kernel").c_str(), 02555);
  fs::create_symlink("fs/a.ko", from_ / "kernel/b.ko");
  fs::create_symlink("b.ko", from_ / "kernel/c.ko");
  write(from_ / "vmlinuz", "elsewhere");
  write(from_ / "build/Makefile", "headers");
  EXPECT_EQ(copy(), std::vector<std::string>());
  EXPECT_EQ(read(to_ / "kernel/fs/a.ko"), "module");
  EXPECT_EQ(mode_of(to_ / "kernel/fs/a.ko"), 0444U);
  EXPECT_EQ(mode_of(to_ / "kernel"), 0755U);
  EXPECT_EQ(fs::read_symlink(to_ / "kernel/c.ko"), "b.ko");
  EXPECT_EQ(read(to_ / "kernel/c.ko"), "module");
  EXPECT_FALSE(is_there("vmlinuz"));
  EXPECT_TRUE(is_there("build/Makefile"));
}

TEST_F(KernelCopy, NoDeviceFifoOrSocketIsMade) {
  ASSERT_EQ(::mkfifo((from_ / "fifo").c_str(), 0666), 0);
  std::vector<std::string> expected = {"fifo"};
  if (::geteuid() == 0 && ::mknod((from_ / "vda").c_str(), S_IFBLK | 0666, makedev(7, 0)) == 0)
    expected.emplace_back("vda");
  EXPECT_EQ(copy(), expected);
  EXPECT_FALSE(is_there("fifo"));
  EXPECT_FALSE(is_there("vda"));
}

TEST_F(KernelCopy, NoLinkLeadsDepmodOutOrRound) {
  write(scratch_ / "image/outside.ko", "the host's");
  for (const auto& [target, name] : {std::pair{"/", "a"},
                                     {"/etc/passwd", "absolute"},
                                     {"../outside.ko", "out"},
                                     {".", "cycle"},
                                     {"kernel", "directory"},
                                     {"itself", "itself"},
                                     {"nowhere", "dangling"},
                                     {"a/etc/passwd", "through"}}) {
    fs::create_symlink(target, from_ / name);
  }
  fs::create_symlink("/usr/src", from_ / "build");
  EXPECT_EQ(copy(), (std::vector<std::string>{"a", "absolute", "cycle", "dangling", "directory", "itself",
                                              "out", "through"}));
  for (const char* name :
       {"a", "absolute", "build", "cycle", "directory", "itself", "out", "through", "dangling"})
    EXPECT_FALSE(is_there(name)) << name;
}

TEST_F(KernelCopy, ATreeWithoutABottomIsRefused) {
  fs::path deep = from_;
  for (unsigned i = 0; i <= kMaxKernelTreeDepth; ++i) deep /= "d";
  fs::create_directories(deep);
  const auto copied = copy_kernel_tree(from_, to_, {});
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, E2BIG) << copied.error().text;
}

TEST_F(KernelCopy, OfOneFileNothingElseIsTaken) {
  ASSERT_EQ(::mkfifo((from_ / "fifo").c_str(), 0666), 0);
  fs::create_symlink("kernel/fs/a.ko", from_ / "link");
  for (const char* name : {"fifo", "link", "kernel"}) {
    const auto copied = copy_kernel_file(from_ / name, scratch_ / "file");
    ASSERT_FALSE(copied) << name;
    EXPECT_EQ(copied.error().code, EINVAL);
    EXPECT_FALSE(fs::exists(scratch_ / "file"));
  }
  ASSERT_TRUE(copy_kernel_file(from_ / "kernel/fs/a.ko", scratch_ / "file"));
  EXPECT_EQ(read(scratch_ / "file"), "module");
}

}  // namespace
}  // namespace layerboot::launcher
