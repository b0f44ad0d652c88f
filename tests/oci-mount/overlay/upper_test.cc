#include "oci-mount/overlay/upper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "tests/support/acl_text.h"
#include "tests/support/host_usage.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

namespace fs = std::filesystem;

bool set_default_acl(const fs::path& directory, const std::string& acl) {
  return ::setxattr(directory.c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0) == 0;
}

class UpperTest : public testing::Test {
 protected:
  Upper open() {
    auto upper = Upper::open(directory(), "sha256:image");
    EXPECT_TRUE(upper) << upper.error().describe();
    return std::move(*upper);
  }
  fs::path directory() const { return top_ / "vm"; }
  Quota::Usage measure(const Upper& upper) {
    const auto survey = upper.survey();
    EXPECT_TRUE(survey);
    return survey ? survey->usage : Quota::Usage{};
  }

  test::TempDir top_;
};

TEST_F(UpperTest, IsClosedToOthers) {
  fs::create_directory(directory());
  ASSERT_EQ(::chmod(directory().c_str(), 02755), 0);
  open();
  struct stat st{};
  ASSERT_EQ(::stat(directory().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700U);
}

TEST_F(UpperTest, IsNotSomebodyElses) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root, to make somebody else's directory";
  constexpr uid_t kSomebody = 1000;
  fs::create_directory(directory());
  ASSERT_EQ(::chown(directory().c_str(), kSomebody, kSomebody), 0);
  const auto native = Upper::open(directory(), "sha256:image");
  ASSERT_FALSE(native);
  EXPECT_EQ(native.error().code, EPERM);
  EXPECT_NE(native.error().text.find("user 1000"), std::string::npos) << native.error().text;
  EXPECT_FALSE(fs::exists(directory() / "image"));
  EXPECT_FALSE(fs::exists(directory() / "work"));
  EXPECT_TRUE(Upper::open(directory(), "sha256:image", Keeping::kRecorded)) << "closed one by one";
}

TEST_F(UpperTest, OneDaemonAtATime) {
  {
    const Upper first = open();
    const auto second = Upper::open(directory(), "sha256:image");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, EBUSY);
    EXPECT_NE(second.error().text.find(directory().string()), std::string::npos);
    EXPECT_NE(second.error().text.find("another --upper"), std::string::npos);
  }
  open();
}

TEST_F(UpperTest, IsKeptInOneWayForGood) {
  const Keeping first = open().keeping();
  EXPECT_EQ(first, ::geteuid() == 0 ? Keeping::kNative : Keeping::kRecorded);
  const auto again = Upper::open(directory(), "sha256:image", Keeping::kRecorded);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->keeping(), first);
  const auto other = Upper::open(top_ / "other", "sha256:image", Keeping::kRecorded);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->keeping(), Keeping::kRecorded);
  EXPECT_EQ(read_upper_identity(top_ / "other")->image, "sha256:image");
}

TEST_F(UpperTest, RootsUpperIsRefusedToOthers) {
  if (::geteuid() == 0) GTEST_SKIP() << "is about who is not root";
  fs::create_directories(directory());
  test::write_text(directory() / "image", "sha256:image\n");
  const auto refused = Upper::open(directory(), "sha256:image");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EPERM);
  EXPECT_NE(refused.error().text.find("as root"), std::string::npos);
}

TEST_F(UpperTest, AnotherImagesUpperIsRefusedAndKept) {
  {
    open();
  }
  test::write_text(directory() / "upper/kept", "kept");
  test::write_text(directory() / "work/t1", "left");
  const auto other = Upper::open(directory(), "sha256:other");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().text.find("sha256:image"), std::string::npos) << other.error().text;
  EXPECT_TRUE(fs::exists(directory() / "work/t1")) << "a refusal changes nothing";
  open();
  EXPECT_EQ(test::read_text(directory() / "upper/kept"), "kept");
}

TEST_F(UpperTest, ADirectoryOfSomethingElseIsRefusedAndKept) {
  fs::create_directories(directory() / "work");
  test::write_text(directory() / "work/thesis", "precious");
  const auto opened = Upper::open(directory(), "sha256:image");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find(directory().string()), std::string::npos);
  EXPECT_EQ(test::read_text(directory() / "work/thesis"), "precious");
  EXPECT_FALSE(fs::exists(directory() / "lock"));
}

TEST_F(UpperTest, LeftoversInWorkAreCleared) {
  {
    open();
  }
  fs::create_directories(directory() / "work/t3/deep/deeper");
  test::write_text(directory() / "work/t3/deep/file", "x");
  test::write_text(directory() / "work/t3/deep/deeper/file", "x");
  test::write_text(directory() / "work/t1", "x");
  test::write_text(directory() / "upper/kept", "x");
  open();
  EXPECT_TRUE(fs::is_empty(directory() / "work"));
  EXPECT_TRUE(fs::exists(directory() / "upper/kept"));
}

// What a mount by the kernel's overlayfs leaves, whose owner is not always who serves.
TEST_F(UpperTest, AnEmptyDirectoryThatNobodyMayOpenIsCleared) {
  {
    open();
  }
  fs::create_directories(directory() / "work/work");
  ASSERT_EQ(::chmod((directory() / "work/work").c_str(), 0), 0);
  open();
  EXPECT_TRUE(fs::is_empty(directory() / "work"));
}

TEST_F(UpperTest, WorkCanBeClearedAtAnyTime) {
  Upper upper = open();
  ASSERT_TRUE(upper.make_whiteout({upper.root_fd(), "gone"}));
  fs::create_directories(directory() / "work/t3/deep");
  test::write_text(directory() / "work/t3/deep/file", "x");
  ASSERT_TRUE(upper.clear_work());
  EXPECT_TRUE(fs::is_empty(directory() / "work"));
  EXPECT_TRUE(upper.make_whiteout({upper.root_fd(), "gone too"}));
}

// A set-group-id directory with a default ACL, as Debian's /var/local may be.
TEST_F(UpperTest, HandsNothingOfTheHostsDirectoryDown) {
  const fs::path parent = top_ / "srv";
  fs::create_directories(parent);
  ASSERT_EQ(::chmod(parent.c_str(), 02775), 0);
  if (!set_default_acl(parent, test::acl_with_user(1234, 7, 7))) GTEST_SKIP() << "the host keeps no ACLs";
  const mode_t before = ::umask(077);
  const auto upper = Upper::open(parent / "vm", "sha256:image");
  ::umask(before);
  ASSERT_TRUE(upper) << upper.error().describe();
  const bool native = upper->keeping() == Keeping::kNative;
  for (const auto& [fd, mode] :
       {std::pair{upper->root_fd(), native ? 0755U : 0700U}, {upper->work_fd(), 0700U}}) {
    EXPECT_EQ(stat_at({fd, ""})->st_mode & 07777U, mode);
    EXPECT_EQ(list_xattrs_at({fd, ""})->size(), 0U);
    const auto made = create_regular_at({fd, "made"}, 0600);
    ASSERT_TRUE(made);
    EXPECT_EQ(list_xattrs_at({made->get(), ""})->size(), 0U);
  }
}

TEST_F(UpperTest, AnUnreadableIdentityIsAnError) {
  {
    open();
  }
  test::write_text(directory() / "image", std::string(100'000, 'x'));
  EXPECT_FALSE(Upper::open(directory(), "sha256:image"));
  test::write_text(directory() / "image", "");
  EXPECT_FALSE(Upper::open(directory(), "sha256:image"));
  const auto no_directory = Upper::open(directory() / "image", "sha256:image");
  ASSERT_FALSE(no_directory);
  EXPECT_NE(no_directory.error().text.find("image"), std::string::npos);
}

TEST_F(UpperTest, MeasuresWhatTheHostAllocated) {
  Upper upper = open();
  EXPECT_EQ(measure(upper).bytes, 0U);
  EXPECT_EQ(measure(upper).inodes, 0U);
  const fs::path root = directory() / "upper";
  fs::create_directories(root / "d/e");
  test::write_text(root / "d/file", std::string(10'000, 'x'));
  fs::create_hard_link(root / "d/file", root / "d/e/same");
  fs::create_hard_link(root / "d/file", root / "same");
  fs::resize_file(root / "d/file", 1 << 20);  // a hole takes nothing
  ASSERT_TRUE(upper.make_whiteout({upper.root_fd(), "gone"}));
  ASSERT_TRUE(upper.make_whiteout({upper.root_fd(), "gone too"}));
  EXPECT_EQ(measure(upper).inodes, 3U);
  const std::uint64_t there = test::host_usage(directory()).bytes;
  EXPECT_GT(there, 10'000U);
  EXPECT_LT(there, 1U << 20);
  EXPECT_EQ(block_end(measure(upper).bytes), there);
}

// The C library says 127 of it, as of any that it does not know.
TEST_F(UpperTest, TmpfsHasNoMostLinks) {
  const test::TempDir memory("/dev/shm");
  auto upper = Upper::open(memory / "vm", "sha256:image");
  ASSERT_TRUE(upper) << upper.error().describe();
  if (host_kind_of(upper->root_fd()) != HostKind::kTmpfs) GTEST_SKIP() << "/dev/shm is no tmpfs";
  EXPECT_EQ(upper->most_links(), 0U);
}

TEST_F(UpperTest, WhiteoutsShareAnInode) {
  Upper upper = open();
  ASSERT_TRUE(upper.make_whiteout({upper.root_fd(), "a"}));
  ASSERT_TRUE(upper.make_whiteout({upper.root_fd(), "b"}));
  const auto a = stat_at({upper.root_fd(), "a"});
  const auto b = stat_at({upper.root_fd(), "b"});
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(is_whiteout(*a));
  EXPECT_EQ(a->st_ino, b->st_ino);
  EXPECT_EQ(upper.make_whiteout({upper.root_fd(), "a"}).error().code, EEXIST);
}

TEST_F(UpperTest, FindsMovedDirectoriesParentsFirst) {
  const Upper upper = open();
  const fs::path root = directory() / "upper";
  fs::create_directories(root / "a/b/c");
  fs::create_directories(root / "plain/d");
  for (const char* path : {"a", "a/b/c", "plain/d"}) {
    ASSERT_EQ(::setxattr((root / path).c_str(), std::string(marks_of(upper.keeping()).redirect).c_str(), "/x",
                         2, 0),
              0);
  }
  std::vector<std::string> paths{""};
  const auto survey = upper.survey();
  ASSERT_TRUE(survey);
  for (const auto& way : survey->moved_directories) {
    ASSERT_LT(way.parent, paths.size());
    paths.push_back(paths[way.parent] + "/" + way.name);
  }
  std::sort(paths.begin(), paths.end());
  EXPECT_EQ(paths, (std::vector<std::string>{"", "/a", "/a/b", "/a/b/c", "/plain", "/plain/d"}))
      << "with what leads to them, each once";
}

// A guest may move all of the image's directories to the bottom of a deep nest: as paths they would take a
// hundred times what the upper does.
TEST_F(UpperTest, MovedDirectoriesInADeepNestTakeNoMoreThanTheirNames) {
  constexpr std::size_t kDepth = 1000;
  constexpr std::size_t kMoved = 200;
  const Upper upper = open();
  const std::string long_name(200, 'n');
  UniqueFd at(::openat(upper.root_fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto enter = [&](const std::string& name) {
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0);
    at = UniqueFd(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  };
  for (std::size_t i = 0; i < kDepth; ++i) enter(long_name);
  for (std::size_t i = 0; i < kMoved; ++i) {
    const std::string name = "m" + std::to_string(i);
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0);
    ASSERT_TRUE(set_xattr_at({at.get(), name.c_str()}, marks_of(upper.keeping()).redirect, "/x", 0));
  }
  EXPECT_EQ(upper.survey()->moved_directories.size(), kDepth + kMoved);
}

TEST_F(UpperTest, WhatAWalkRemembersIsPaidFor) {
  constexpr int kFiles = 200;
  const Upper upper = open();
  for (int i = 0; i < kFiles; ++i) {
    test::write_text(directory() / "upper" / ("file" + std::to_string(i)), "x");
    fs::create_hard_link(directory() / "upper" / ("file" + std::to_string(i)),
                         directory() / "upper" / ("link" + std::to_string(i)));
  }
  for (const char* name : {"moved", "other"}) {
    fs::create_directory(directory() / "upper" / name);
    ASSERT_TRUE(set_xattr_at({upper.root_fd(), name}, marks_of(upper.keeping()).redirect, "/x", 0));
  }
  MemoryBudget memory;
  const auto before = memory.used_bytes();
  {
    const auto survey = upper.survey(&memory);
    ASSERT_TRUE(survey);
    EXPECT_EQ(survey->usage.inodes, kFiles + 2U) << "each file once";
    EXPECT_GE(memory.used_bytes(), before + 2 * sizeof(WayToMoved)) << "the list";
    EXPECT_LT(memory.used_bytes(), before + 1000) << "and nothing else";
  }
  EXPECT_EQ(memory.used_bytes(), before);
  std::uint64_t taken = 0;
  while (memory.try_take(1024)) taken += 1024;
  const auto refused = upper.survey(&memory);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENOMEM);
  EXPECT_NE(refused.error().text.find("memory limit"), std::string::npos) << refused.error().text;
  memory.give_back(taken);
}

// Deeper than any path limit, and than there are descriptors: a guest can make this.
TEST_F(UpperTest, AnyDepthIsMeasuredAndRemoved) {
  constexpr int kDepth = 3000;
  const Upper upper = open();
  UniqueFd at(::openat(upper.work_fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
    at = UniqueFd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  ASSERT_TRUE(rename_at({upper.work_fd(), "d"}, {upper.root_fd(), "d"}, 0));
  EXPECT_EQ(measure(upper).inodes, static_cast<std::uint64_t>(kDepth));
  ASSERT_TRUE(remove_tree_at({upper.root_fd(), "d"}));
  EXPECT_EQ(measure(upper).inodes, 0U);
}

TEST_F(UpperTest, OnlyRegularFilesAreOpened) {
  const Upper upper = open();
  const int dir = upper.root_fd();
  ASSERT_EQ(::mkfifoat(dir, "fifo", 0600), 0);
  if (::geteuid() == 0) {
    ASSERT_EQ(::mknodat(dir, "null", S_IFCHR | 0600, makedev(1, 3)), 0);
  }
  ASSERT_EQ(::symlinkat("/etc/passwd", dir, "link"), 0);
  ASSERT_EQ(::mkdirat(dir, "dir", 0700), 0);
  test::write_text(directory() / "upper/file", "x");
  for (const char* name : {"fifo", "null", "link", "dir"}) {
    EXPECT_FALSE(open_regular_at({dir, name})) << name;
  }
  EXPECT_TRUE(open_regular_at({dir, "file"}));
  EXPECT_FALSE(open_directory_at({dir, "link"}));
  EXPECT_FALSE(open_directory_at({dir, ".."}));
}

}  // namespace
}  // namespace layerboot::overlay
