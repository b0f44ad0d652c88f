#include "oci-mount/overlay/upper_root.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/body.h"
#include "tests/oci-mount/tree/built_tree.h"
#include "tests/oci-mount/vfs/image_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::overlay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kImage = "sha256:image";
constexpr std::int64_t kImageMtime = 1'600'000'000;

/// Over an image whose "/" is 5:6's, mode 1711, with an attribute.
class UpperRootTest : public testing::TestWithParam<Keeping> {
 protected:
  UpperRootTest() {
    if (!native()) return;
    if (::geteuid() != 0) skipped_ = true;
  }
  void SetUp() override {
    if (skipped_) GTEST_SKIP() << "only root has a native upper";
  }
  [[nodiscard]] bool native() const { return GetParam() == Keeping::kNative; }
  static std::string tar() {
    test::TarMember top;
    top.type = '5';
    top.name = "./";
    top.mode = 01711;
    top.uid = 5;
    top.gid = 6;
    top.mtime = kImageMtime;
    top.pax = {{"SCHILY.xattr.user.rootattr", "yes"}};
    return test::TarBuilder().add(top).file("a", "x").finish();
  }
  [[nodiscard]] fs::path directory() const { return top_ / "srv/vm"; }
  [[nodiscard]] fs::path root() const { return directory() / "upper"; }
  /// What the guest sees of "/" after a start: owner, permissions.
  std::string start() {
    const auto upper = Upper::open(directory(), kImage, GetParam());
    EXPECT_TRUE(upper) << upper.error().describe();
    const Lower lower{*image_.source->tree, image_.source->reader};
    LowerMetadata metadata(lower, upper->keeping());
    const auto adopted = adopt_image_root(*upper, lower, metadata);
    EXPECT_TRUE(adopted) << adopted.error().describe();
    const auto st = stat_at({upper->root_fd(), ""});
    const auto nature = nature_at(upper->keeping(), {upper->root_fd(), ""}, *st);
    char text[64];
    std::snprintf(text, sizeof text, "%u:%u %04o", nature->uid, nature->gid, nature->mode & 07777U);
    return text;
  }
  std::int64_t mtime() {
    struct stat st{};
    EXPECT_EQ(::stat(root().c_str(), &st), 0);
    return st.st_mtim.tv_sec;
  }
  /// As the version before this one made it.
  void make_former(mode_t umask = 022) {
    const mode_t before = ::umask(umask);
    fs::create_directories(directory());
    ::chmod(directory().c_str(), 0700 | (host_setgid_ ? S_ISGID : 0));
    for (const auto& [name, mode] : {std::pair{"upper", 0755}, {"work", 0700}}) {
      ASSERT_EQ(::mkdir((directory() / name).c_str(), static_cast<mode_t>(mode)), 0);
    }
    test::write_text(directory() / "lock", "");
    const int file = ::open((directory() / "image").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    ::close(file);
    test::write_text(directory() / "image", str_cat(kImage, native() ? "\n" : "\nrecorded\n"));
    ::umask(before);
  }
  void write_something() { test::write_text(root() / "written", "x"); }

  test::TempDir top_;
  test::ImageFixture image_{{tar()}};
  bool host_setgid_ = false;
  bool skipped_ = false;
};
INSTANTIATE_TEST_SUITE_P(EachKeeping, UpperRootTest, testing::Values(Keeping::kNative, Keeping::kRecorded),
                         [](const auto& keeping) {
                           return keeping.param == Keeping::kNative ? "Native" : "Recorded";
                         });

TEST_P(UpperRootTest, ANewOneIsTheImages) {
  const mode_t before = ::umask(077);
  EXPECT_EQ(start(), "5:6 1711");
  ::umask(before);
  EXPECT_EQ(mtime(), kImageMtime);
  char value[8];
  EXPECT_EQ(::getxattr(root().c_str(), "user.rootattr", value, sizeof value), 3);
}

TEST_P(UpperRootTest, WhatTheGuestSetsStays) {
  start();
  {
    const auto upper = Upper::open(directory(), kImage, GetParam());
    ASSERT_TRUE(upper);
    const Place place{upper->root_fd(), ""};
    ASSERT_TRUE(set_nature_at(GetParam(), place, {.mode = S_IFDIR | 0755, .uid = 0, .gid = 0, .rdev = 0}));
    ASSERT_TRUE(remove_xattr_at(place, "user.rootattr"));
  }
  write_something();
  EXPECT_EQ(start(), "0:0 0755");
  EXPECT_LT(::getxattr(root().c_str(), "user.rootattr", nullptr, 0), 0);
}

TEST_P(UpperRootTest, AnEarlierVersionsGetsTheImages) {
  make_former();
  EXPECT_EQ(start(), "5:6 1711");
  EXPECT_EQ(mtime(), kImageMtime);
}

TEST_P(UpperRootTest, AnEarlierVersionsIsNotTakenForTheGuestsByTheHostsUmask) {
  for (const mode_t umask : {077U, 027U, 002U}) {
    make_former(umask);
    EXPECT_EQ(start(), "5:6 1711") << umask;
    fs::remove_all(directory());
  }
}

TEST_P(UpperRootTest, AnEarlierVersionsKeepsTheGuestsModeAndOwner) {
  make_former();
  const UniqueFd fd = *open_path(root(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(
      set_nature_at(GetParam(), {fd.get(), ""}, {.mode = S_IFDIR | 01777, .uid = 7, .gid = 8, .rdev = 0}));
  ASSERT_TRUE(set_xattr_at({fd.get(), ""}, "user.rootattr", "guest", 0));
  write_something();
  const std::int64_t written = mtime();
  EXPECT_EQ(start(), "7:8 1777");
  EXPECT_EQ(mtime(), written);
  EXPECT_EQ(get_xattr_at({fd.get(), ""}, "user.rootattr"), "guest");
}

TEST_P(UpperRootTest, TheHostsDefaultAclGoes) {
  fs::create_directories(top_ / "srv");
  const std::string acl = test::acl_with_user(1234, 7, 7);
  if (::setxattr((top_ / "srv").c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0) != 0) {
    GTEST_SKIP() << "the host keeps no ACLs";
  }
  ::chmod((top_ / "srv").c_str(), 02775);
  host_setgid_ = true;
  make_former();
  ASSERT_GT(::getxattr(root().c_str(), "system.posix_acl_default", nullptr, 0), 0) << "as handed down";
  write_something();
  EXPECT_EQ(start(), "5:6 1711");
  EXPECT_LT(::getxattr(root().c_str(), "system.posix_acl_default", nullptr, 0), 0);
  EXPECT_LT(::getxattr(root().c_str(), "system.posix_acl_access", nullptr, 0), 0);
}

TEST_P(UpperRootTest, AnAclOfTheGuestsStays) {
  if (!native()) GTEST_SKIP() << "a recorded one is under another name";
  make_former();
  const std::string acl = test::acl_with_user(1234, 7, 7);
  if (::setxattr(root().c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0) != 0) {
    GTEST_SKIP() << "the host keeps no ACLs";
  }
  start();
  EXPECT_EQ(::getxattr(root().c_str(), "system.posix_acl_default", nullptr, 0),
            static_cast<ssize_t>(acl.size()));
}

}  // namespace
}  // namespace layerboot::overlay
