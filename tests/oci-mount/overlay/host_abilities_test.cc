// Uppers on file systems that can do less than they need.
#include "oci-mount/overlay/host_abilities.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/upper.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

namespace fs = std::filesystem;

/// A file system mounted in a mount namespace of this process's own.
class HostAbilitiesTest : public testing::Test {
 protected:
  void TearDown() override {
    if (mounted_) ::umount2(place_.c_str(), MNT_DETACH);
  }
  /// Why it could not be mounted; empty if it is.
  std::string mount(const char* type, const std::string& options = {}) {
    fs::create_directories(place_);
    static const bool alone =
        ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!alone) return "needs a mount namespace: run as root";
    if (::mount("none", place_.c_str(), type, 0, options.c_str()) != 0) {
      return std::string("cannot mount ") + type + ": " + std::strerror(errno);
    }
    mounted_ = true;
    return {};
  }
  HostAbilities tried() {
    const auto dir = open_path(place_, O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(dir);
    auto able = try_host(dir->get());
    EXPECT_TRUE(fs::is_empty(place_)) << "trying leaves nothing";
    return able;
  }

  test::TempDir top_;
  fs::path place_ = top_ / "host";
  bool mounted_ = false;
};

TEST_F(HostAbilitiesTest, TheTestsOwnFileSystemHasAll) {
  fs::create_directories(place_);
  const auto able = tried();
  EXPECT_TRUE(able.missing.empty()) << list_missing(able.missing);
  EXPECT_TRUE(able.user_xattrs);
  EXPECT_EQ(able.trusted_xattrs, ::geteuid() == 0);
}

TEST_F(HostAbilitiesTest, ListsInWords) {
  EXPECT_EQ(list_missing({"a"}), "no a");
  EXPECT_EQ(list_missing({"a", "b", "c"}), "no a, no b and no c");
}

TEST_F(HostAbilitiesTest, WhatIsMissingIsAllInOneLine) {
  if (const auto why = mount("ramfs"); !why.empty()) GTEST_SKIP() << why;
  const auto able = tried();
  EXPECT_FALSE(able.trusted_xattrs || able.user_xattrs);
  const auto upper = Upper::open(place_ / "vm", "sha256:image");
  ASSERT_FALSE(upper);
  EXPECT_EQ(upper.error().code, EOPNOTSUPP);
  EXPECT_NE(upper.error().text.find("(ramfs) has no extended attributes (trusted.* or user.*)"),
            std::string::npos)
      << upper.error().text;
  EXPECT_NE(upper.error().text.find("no RENAME_WHITEOUT"), std::string::npos) << upper.error().text;
  EXPECT_NE(upper.error().text.find((place_ / "vm").string()), std::string::npos);
  EXPECT_FALSE(fs::exists(place_ / "vm")) << "nothing half-made stays";
}

TEST_F(HostAbilitiesTest, ARefusalKeepsADirectoryThatWasThere) {
  if (const auto why = mount("ramfs"); !why.empty()) GTEST_SKIP() << why;
  fs::create_directories(place_ / "vm");
  ASSERT_FALSE(Upper::open(place_ / "vm", "sha256:image"));
  EXPECT_TRUE(fs::exists(place_ / "vm"));
  EXPECT_FALSE(fs::exists(place_ / "vm/work"));
  EXPECT_FALSE(fs::exists(place_ / "vm/image"));
  const auto again = Upper::open(place_ / "vm", "sha256:image");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, EOPNOTSUPP) << again.error().text;
}

// As in a container's own file system.
TEST_F(HostAbilitiesTest, AnOverlayfsIsRefusedByWhatItLacks) {
  const test::TempDir below;
  for (const char* name : {"lower", "upper", "work"}) fs::create_directories(below / name);
  const std::string b = below.path().string();
  const auto why =
      mount("overlay", "lowerdir=" + b + "/lower,upperdir=" + b + "/upper,workdir=" + b + "/work");
  if (!why.empty()) GTEST_SKIP() << why;
  const auto able = tried();
  EXPECT_FALSE(able.missing.empty());
  const auto upper = Upper::open(place_ / "vm", "sha256:image");
  ASSERT_FALSE(upper);
  EXPECT_NE(upper.error().text.find("(overlayfs) has no"), std::string::npos) << upper.error().text;
  EXPECT_NE(upper.error().text.find("volume"), std::string::npos);
}

// What a crash while trying leaves makes no directory somebody else's.
TEST_F(HostAbilitiesTest, LeftTrialsAreOurs) {
  fs::create_directories(place_ / "work");
  test::write_text(place_ / "work/trial-file", "");
  test::write_text(place_ / "lock", "");
  EXPECT_TRUE(Upper::open(place_, "sha256:image"));
  EXPECT_TRUE(fs::is_empty(place_ / "work"));
}

TEST_F(HostAbilitiesTest, AFullFileSystemCanBeOpened) {
  if (const auto why = mount("tmpfs", "size=64k,nr_inodes=12"); !why.empty()) GTEST_SKIP() << why;
  ASSERT_TRUE(Upper::open(place_ / "vm", "sha256:image"));
  for (int i = 0; ::open((place_ / ("full" + std::to_string(i))).c_str(), O_CREAT | O_CLOEXEC, 0600) >= 0;
       ++i) {
    ASSERT_LT(i, 20);
  }
  const auto upper = Upper::open(place_ / "vm", "sha256:image");
  EXPECT_TRUE(upper) << upper.error().describe();
}

}  // namespace
}  // namespace layerboot::overlay
