// Trees as a guest can make them: deeper than any path, wider than a listing, closed to their owner.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "oci-mount/base/files.h"
#include "oci-mount/base/remove_tree.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/tree_position.h"
#include "oci-mount/base/walk_tree.h"
#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

namespace fs = std::filesystem;

constexpr int kDepth = 20'000;  // paths end at 4,096 bytes, descriptors usually at 1,024

class DeepTreesTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(top_); }
  void TearDown() override { EXPECT_TRUE(remove_tree(top_)); }

  void make_deep() const {
    UniqueFd at(::open(top_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < kDepth; ++i) {
      ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
      ASSERT_TRUE(UniqueFd(::openat(at.get(), "beside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
      at = UniqueFd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      ASSERT_TRUE(at);
    }
  }
  std::uint64_t count() {
    std::uint64_t seen = 0;
    errors_ = 0;
    const auto walked = walk_tree(top_, [&](const struct stat&) { ++seen; }, [&](int) { ++errors_; });
    EXPECT_TRUE(walked) << walked.error().describe();
    return seen;
  }
  std::uint64_t open_descriptors() const {
    return static_cast<std::uint64_t>(
        std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
  }

  test::TempDir dir_{"/dev/shm"};  // so many directories take a disk minutes
  fs::path top_ = dir_ / "top";
  int errors_ = 0;
};

TEST_F(DeepTreesTest, AnyDepthTakesFewDescriptors) {
  make_deep();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{open_descriptors() + 8, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(count(), 2U * kDepth);
  EXPECT_EQ(errors_, 0);
  const auto removed = remove_tree(top_);
  EXPECT_TRUE(removed) << removed.error().describe();
  EXPECT_FALSE(fs::exists(top_));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(DeepTreesTest, DirectoriesOfManyFullDirectories) {
  constexpr int kWide = 3000;  // names of several pieces of a listing
  for (int i = 0; i < kWide; ++i) {
    const fs::path one = top_ / str_cat(std::string(30, 'w'), i);
    fs::create_directories(one / "full");
    std::ofstream(one / "file") << "x";
  }
  EXPECT_EQ(count(), 3U * kWide);
  EXPECT_TRUE(remove_tree(top_));
  EXPECT_FALSE(fs::exists(top_));
}

TEST_F(DeepTreesTest, WhatItsOwnerMayNotEnter) {
  fs::create_directories(top_ / "closed/within/empty");
  fs::create_directories(top_ / "readable/within");
  fs::permissions(top_ / "closed/within", fs::perms::none);
  fs::permissions(top_ / "closed", fs::perms::none);
  fs::permissions(top_ / "readable", fs::perms::owner_read | fs::perms::owner_exec);
  if (::geteuid() != 0) {
    EXPECT_EQ(count(), 3U);
    EXPECT_EQ(errors_, 1);
  }
  const auto removed = remove_tree(top_);
  EXPECT_TRUE(removed) << removed.error().describe();
  EXPECT_FALSE(fs::exists(top_));
}

TEST_F(DeepTreesTest, LinksAreNotFollowed) {
  fs::create_directories(dir_ / "elsewhere/kept");
  fs::create_directory_symlink(dir_ / "elsewhere", top_ / "link");
  EXPECT_EQ(count(), 1U);
  EXPECT_TRUE(remove_tree(top_ / "link"));
  fs::create_directory_symlink(dir_ / "elsewhere", top_ / "link");
  EXPECT_TRUE(remove_tree(top_));
  EXPECT_TRUE(fs::exists(dir_ / "elsewhere/kept"));
}

TEST_F(DeepTreesTest, NothingFilesAndSlashes) {
  EXPECT_TRUE(remove_tree(top_ / "nothing"));
  EXPECT_TRUE(remove_tree(dir_ / "no/such/place"));
  std::ofstream(top_ / "file") << "x";
  EXPECT_TRUE(remove_tree(top_ / "file"));
  fs::create_directories(top_ / "d/e");
  EXPECT_TRUE(remove_tree((top_ / "d").string() + "/"));
  EXPECT_TRUE(fs::is_empty(top_));
  EXPECT_EQ(walk_tree(top_ / "nothing", [](const struct stat&) {}, [](int) {}).error().code, ENOENT);
}

TEST_F(DeepTreesTest, OtherMountsAreLeftAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting takes root";
  fs::create_directories(top_ / "a/mounted");
  if (::mount("none", (top_ / "a/mounted").c_str(), "tmpfs", 0, nullptr) != 0)
    GTEST_SKIP() << "nothing can be mounted";
  std::ofstream(top_ / "a/mounted/kept") << "x";
  EXPECT_EQ(count(), 2U);
  EXPECT_FALSE(remove_tree(top_));
  EXPECT_TRUE(fs::exists(top_ / "a/mounted/kept"));
  EXPECT_EQ(::umount((top_ / "a/mounted").c_str()), 0);
}

// A guest can do that: ".." then leads out of what is walked.
TEST_F(DeepTreesTest, ADirectoryThatIsMovedEndsTheWay) {
  fs::create_directories(top_ / "a/b/c");
  TreePosition at(UniqueFd(::open((top_ / "a").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  ASSERT_TRUE(at.enter("b"));
  ASSERT_TRUE(at.enter("c"));
  fs::rename(top_ / "a/b/c", top_ / "c");
  const auto left = at.leave();
  ASSERT_FALSE(left);
  EXPECT_EQ(left.error().code, ESTALE);
  EXPECT_EQ(at.enter("..").error().code, EXDEV) << "only down";
}

}  // namespace
}  // namespace layerboot
