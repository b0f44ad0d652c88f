// oci-mount as a user meets it: its commands, its mounts, what it says when something is wrong.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr int kManyFiles = 3000;

class MountToolTest : public testing::Test {
 protected:
  void SetUp() override {
    big_ = sample_bytes(3'000'000, 1);
    TarBuilder lower;
    lower.directory("etc").file("etc/hostname", "lower\n").file("etc/gone", "x").symlink("conf", "/etc");
    lower.directory("many");
    for (int i = 0; i < kManyFiles; ++i) lower.file(str_cat("many/", i), str_cat(i));
    TarMember with_xattr;
    with_xattr.name = "xattr";
    with_xattr.pax = {{"SCHILY.xattr.user.colour", "blue"}};
    lower.add(with_xattr);
    TarBuilder upper;
    upper.file("etc/hostname", "upper\n").whiteout("etc/gone").file("big", big_).hard_link("big2", "big");
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(lower.finish()).add_plain_layer(upper.finish());
    image.write();
    top_blob_ = image.blob_path(sha256_text(upper.finish()));
    fs::create_directories(mountpoint());
  }
  std::string image() const { return "oci:" + (dir_ / "image").string(); }
  fs::path mountpoint() const { return dir_ / "mnt"; }
  fs::path cache() const { return dir_ / "cache"; }
  Outcome tool(std::vector<std::string> words) const {
    words.insert(words.begin(), LAYERBOOT_OCI_MOUNT);
    return run_program(words, cache());
  }
  // One line on standard error that names `what`, and exit code 1.
  static void expect_refused(const Outcome& outcome, const std::string& what) {
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find(what), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }

  TempDir dir_;
  std::string big_;
  fs::path top_blob_;
};

class MountedToolTest : public MountToolTest {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    MountToolTest::SetUp();
  }
};

TEST_F(MountToolTest, ListsWithoutMounting) {
  const Outcome plain = tool({"ls", image(), "/etc"});
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(plain.out, "hostname\n");
  const Outcome details = tool({"ls", "-lR", image()});
  EXPECT_NE(details.out.find("etc/hostname\n"), std::string::npos);
  EXPECT_NE(details.out.find("conf -> /etc\n"), std::string::npos);
  EXPECT_EQ(std::count(details.out.begin(), details.out.end(), '\n'), kManyFiles + 7);
}

TEST_F(MountToolTest, PrintsExactBytes) {
  const Outcome outcome = tool({"cat", image(), "conf/hostname", "/big2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(outcome.out == "upper\n" + big_);
}

TEST_F(MountToolTest, WhatCannotBePrintedIsNamedAndTheRestPrinted) {
  tool({"ls", image()});  // indexed, so that only the errors are said
  expect_refused(tool({"cat", image(), "/etc/gone"}), "/etc/gone: No such file or directory");
  expect_refused(tool({"ls", image(), "/etc/gone"}), "/etc/gone: No such file or directory");
  const Outcome mixed = tool({"cat", image(), "/none", "etc", "/etc/hostname"});
  EXPECT_EQ(mixed.exit_code, 1);
  EXPECT_EQ(mixed.out, "upper\n");
  EXPECT_NE(mixed.err.find("etc: is a directory"), std::string::npos) << mixed.err;
}

TEST_F(MountToolTest, AReaderThatLeavesIsNoError) {
  tool({"ls", image()});
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ::close(ends[0]);
  const UniqueFd nobody_reads(ends[1]);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"cat", image(), "big"}, {"ls", "-lR", image()}}) {
    std::vector<std::string> words = command;
    words.insert(words.begin(), LAYERBOOT_OCI_MOUNT);
    const Outcome outcome = run_program(words, cache(), nobody_reads.get());
    EXPECT_EQ(outcome.exit_code, -SIGPIPE);
    EXPECT_EQ(outcome.err, "");
    ::signal(SIGPIPE, SIG_IGN);  // inherited
    const Outcome ignoring = run_program(words, cache(), nobody_reads.get());
    ::signal(SIGPIPE, SIG_DFL);
    EXPECT_EQ(ignoring.exit_code, 1);
    EXPECT_EQ(ignoring.err, "");
  }
}

TEST_F(MountToolTest, MissingThingsAreNamed) {
  expect_refused(tool({"ls", "oci:" + (dir_ / "nowhere").string()}), "nowhere");
  expect_refused(tool({"cat", image() + ":no-such-tag", "x"}), "no-such-tag");
}

TEST_F(MountToolTest, AFlippedByteIsFoundBeforeAnythingIsServed) {
  std::string blob = read_text(top_blob_);
  blob[blob.size() / 2] = static_cast<char>(blob[blob.size() / 2] ^ 1);
  write_text(top_blob_, blob);
  const Outcome outcome = tool({"ls", "-q", image()});
  expect_refused(outcome, top_blob_.filename().string());
}

TEST_F(MountedToolTest, ServesTheImageReadOnly) {
  const Mounted mounted({image()}, cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
  EXPECT_EQ(fs::read_symlink(mountpoint() / "conf"), "/etc");
  EXPECT_EQ(read_text(mountpoint() / "etc/hostname"), "upper\n");
  EXPECT_TRUE(read_text(mountpoint() / "big") == big_);
  EXPECT_FALSE(fs::exists(mountpoint() / "etc/gone"));
  struct stat one{};
  struct stat two{};
  ASSERT_EQ(::stat((mountpoint() / "big").c_str(), &one), 0);
  ASSERT_EQ(::stat((mountpoint() / "big2").c_str(), &two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(one.st_nlink, 2U);
  char value[16];
  EXPECT_EQ(::getxattr((mountpoint() / "xattr").c_str(), "user.colour", value, sizeof value), 4);
  EXPECT_EQ(::open((mountpoint() / "new").c_str(), O_CREAT | O_WRONLY, 0644), -1);
  EXPECT_EQ(errno, EROFS);
}

TEST_F(MountedToolTest, ListsALongDirectoryWholeAndOnce) {
  const Mounted mounted({image()}, cache(), mountpoint());
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(mountpoint() / "many"))
    names.insert(entry.path().filename());
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kManyFiles));
  EXPECT_EQ(read_text(mountpoint() / "many/2999"), "2999");
}

TEST_F(MountedToolTest, WhatIsWrittenIsKeptInTheUpperDirectory) {
  const std::vector<std::string> arguments{image(), "--upper", (dir_ / "upper").string(), "--quota", "64M"};
  {
    Mounted mounted(arguments, cache(), mountpoint());
    ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
    write_text(mountpoint() / "etc/new", "written");
    std::ofstream(mountpoint() / "etc/hostname", std::ios::app) << "more";
    fs::rename(mountpoint() / "etc/new", mountpoint() / "renamed");
    fs::create_hard_link(mountpoint() / "renamed", mountpoint() / "linked");
    fs::create_symlink("renamed", mountpoint() / "soft");
    EXPECT_EQ(::truncate((mountpoint() / "big").c_str(), 10), 0);
    EXPECT_EQ(::setxattr((mountpoint() / "renamed").c_str(), "user.a", "b", 1, 0), 0);
    fs::remove_all(mountpoint() / "many");
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  }
  Mounted again(arguments, cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << again.messages();
  EXPECT_EQ(read_text(mountpoint() / "soft"), "written");
  EXPECT_EQ(read_text(mountpoint() / "linked"), "written");
  EXPECT_EQ(read_text(mountpoint() / "etc/hostname"), "upper\nmore");
  EXPECT_EQ(read_text(mountpoint() / "big2"), big_.substr(0, 10));
  EXPECT_FALSE(fs::exists(mountpoint() / "many"));
  EXPECT_FALSE(fs::exists(mountpoint() / "etc/new"));
}

TEST_F(MountedToolTest, TheQuotaIsSaidAtTheWrite) {
  Mounted mounted({image(), "--upper", (dir_ / "upper").string(), "--quota", "2M"}, cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
  const UniqueFd file(::open((mountpoint() / "full").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  ssize_t put = 0;
  for (std::size_t written = 0; put >= 0 && written < 4U << 20; written += static_cast<std::size_t>(put)) {
    put = ::write(file.get(), big_.data(), 100'000);
  }
  EXPECT_EQ(put, -1);
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(MountedToolTest, EndsWithASignalAndUnmounts) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    Mounted mounted({image()}, cache(), mountpoint());
    ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
    EXPECT_EQ(mounted.stop(number), 0) << number;
    EXPECT_FALSE(is_mountpoint(mountpoint()));
  }
}

TEST_F(MountedToolTest, EndsWhenUnmounted) {
  Mounted mounted({image()}, cache(), mountpoint());
  ASSERT_TRUE(is_mountpoint(mountpoint())) << mounted.messages();
  ASSERT_EQ(run_program({"fusermount3", "-u", mountpoint().string()}, cache()).exit_code, 0);
  EXPECT_EQ(mounted.wait(), 0) << mounted.messages();
}

TEST_F(MountedToolTest, GoesToTheBackgroundOnceItWorks) {
  // So that the server, whose parent has left, becomes a child of this process and can be waited for.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  const fs::path before = fs::current_path();
  fs::current_path(dir_.path());
  StrayDescriptor stray;
  const Outcome outcome = tool({"mount", image(), "mnt"});  // relative, though the server leaves for "/"
  fs::current_path(before);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(read_text(mountpoint() / "etc/hostname"), "upper\n");
  EXPECT_TRUE(stray.is_let_go());
  std::ifstream children(str_cat("/proc/self/task/", ::getpid(), "/children"));
  pid_t server = -1;
  ASSERT_TRUE(children >> server);
  EXPECT_EQ(::kill(server, SIGTERM), 0);
  int status = -1;
  EXPECT_EQ(::waitpid(server, &status, 0), server);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(is_mountpoint(mountpoint()));
}

TEST_F(MountedToolTest, AMountThatCannotBeIsSaidOnTheTerminal) {
  tool({"ls", image()});
  write_text(dir_ / "file", "");
  for (const bool foreground : {false, true}) {
    const auto mount = [&](const std::string& what, const fs::path& where) {
      std::vector<std::string> words{"mount", what, where.string()};
      if (foreground) words.emplace_back("--foreground");
      return tool(words);
    };
    expect_refused(mount(image(), dir_ / "none"), "none: No such file or directory");
    expect_refused(mount(image(), dir_ / "file"), "file: it is no directory");
    expect_refused(mount("oci:" + (dir_ / "nowhere").string(), mountpoint()), "nowhere");
  }
  EXPECT_FALSE(is_mountpoint(mountpoint()));
}

}  // namespace
}  // namespace layerboot::test
