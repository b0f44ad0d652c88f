#include "guest-init/attribute_layer.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

namespace guest_init {
namespace {

namespace fs = std::filesystem;

/// What the guest will see as "security.capability" of ping: cap_net_raw=ep.
constexpr std::array<char, 20> kCapability = {1, 0, 0, 2, 0, 32};

class AttributeLayer : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0)
      GTEST_SKIP() << "guest-init is root in its guest: owners and trusted.* need root here too";
    std::string pattern = (fs::temp_directory_path() / "attributes-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    top_ = pattern;
    ASSERT_EQ(mount("tmpfs", top_.c_str(), "tmpfs", 0, nullptr), 0) << errno;
    fs::create_directories(image_ = top_ / "image");
    fs::create_directories(layer_ = top_ / "layer");
    fs::create_directories(image_ / "usr/bin");
    std::ofstream(image_ / "usr/bin/ping") << std::string(5000, 'x');
  }
  void TearDown() override {
    if (top_.empty()) return;
    umount2(top_.c_str(), MNT_DETACH);
    fs::remove(top_);
  }
  void set(const char* path, const char* name, std::string_view value) const {
    ASSERT_EQ(lsetxattr((image_ / path).c_str(), name, value.data(), value.size(), 0), 0)
        << path << ' ' << errno;
  }
  [[nodiscard]] std::string get(const char* path, const char* name) const {
    std::string value(1024, '\0');
    const ssize_t size = lgetxattr((layer_ / path).c_str(), name, value.data(), value.size());
    if (size < 0) return "none: " + std::to_string(errno);
    value.resize(static_cast<std::size_t>(size));
    return value;
  }
  [[nodiscard]] struct stat look(const fs::path& place) const {
    struct stat found{};
    EXPECT_EQ(lstat(place.c_str(), &found), 0) << place;
    return found;
  }
  void expect_same(const char* path) const {
    const struct stat there = look(image_ / path);
    const struct stat here = look(layer_ / path);
    EXPECT_EQ(here.st_mode, there.st_mode) << path;
    EXPECT_EQ(here.st_uid, there.st_uid) << path;
    EXPECT_EQ(here.st_gid, there.st_gid) << path;
    EXPECT_EQ(here.st_mtim.tv_sec, there.st_mtim.tv_sec) << path;
    EXPECT_EQ(here.st_mtim.tv_nsec, there.st_mtim.tv_nsec) << path;
  }
  bool fill(std::string_view paths) const { return fill_attribute_layer(image_, layer_, paths); }

  fs::path top_;
  fs::path image_;
  fs::path layer_;
};

void set_mtime(const fs::path& path, time_t seconds) {
  const timespec times[2] = {{seconds, 5}, {seconds, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}

TEST_F(AttributeLayer, AFileIsAMetacopyWithAllButItsData) {
  const std::string capability(kCapability.begin(), kCapability.end());
  ASSERT_EQ(chown((image_ / "usr/bin/ping").c_str(), 7, 8), 0);
  ASSERT_EQ(chmod((image_ / "usr/bin/ping").c_str(), 04750), 0);
  ASSERT_EQ(chmod((image_ / "usr").c_str(), 02751), 0);
  set("usr/bin/ping", "security.capability", capability);
  set("usr/bin/ping", "trusted.mine", "value");
  set_mtime(image_ / "usr/bin/ping", 1000);
  set_mtime(image_ / "usr/bin", 2000);
  set_mtime(image_ / "usr", 3000);
  ASSERT_TRUE(fill(std::string_view("usr/bin/ping\0", 13))) << errno;
  for (const char* path : {"usr/bin/ping", "usr/bin", "usr"}) expect_same(path);
  const struct stat made = look(layer_ / "usr/bin/ping");
  EXPECT_EQ(made.st_size, 5000);
  EXPECT_EQ(made.st_blocks, 0) << "its data is the image's";
  EXPECT_EQ(get("usr/bin/ping", "security.capability"), capability);
  EXPECT_EQ(get("usr/bin/ping", "trusted.mine"), "value");
  EXPECT_EQ(get("usr/bin/ping", "trusted.overlay.metacopy"), "");
}

// An image may name what overlayfs does; nobody is shown it, and here it would be done.
TEST_F(AttributeLayer, WhatOverlayfsWouldObeyStaysBelow) {
  set("usr/bin", "trusted.overlay.opaque", "y");
  set("usr/bin", "trusted.overlay.redirect", "/etc");
  set("usr/bin", "trusted.mine", "value");
  ASSERT_TRUE(fill(std::string_view("usr/bin\0", 8))) << errno;
  EXPECT_EQ(get("usr/bin", "trusted.overlay.opaque"), "none: " + std::to_string(ENODATA));
  EXPECT_EQ(get("usr/bin", "trusted.overlay.redirect"), "none: " + std::to_string(ENODATA));
  EXPECT_EQ(get("usr/bin", "trusted.mine"), "value");
}

/// POSIX ACLs as Linux keeps them (include/uapi/linux/posix_acl_xattr.h): everything to user 1000, and to the
/// owner.
constexpr std::string_view kAclForAUser(
    "\2\0\0\0"
    "\1\0\7\0\xff\xff\xff\xff"
    "\2\0\7\0\xe8\3\0\0"
    "\4\0\0\0\xff\xff\xff\xff"
    "\x10\0\7\0\xff\xff\xff\xff"
    "\x20\0\0\0\xff\xff\xff\xff",
    44);

// What is below a directory in the image has the rights that it has there, however the directory would have
// it.
TEST_F(AttributeLayer, ADefaultAclIsHandedDownToNothing) {
  std::filesystem::create_directories(image_ / "srv/private");
  std::ofstream(image_ / "srv/secret") << "s";
  std::ofstream(image_ / "srv/private/tool") << "t";
  ASSERT_EQ(chmod((image_ / "srv/private").c_str(), 0750), 0);
  ASSERT_EQ(chmod((image_ / "srv/secret").c_str(), 0640), 0);
  set("srv", "system.posix_acl_default", kAclForAUser);
  set("srv/secret", "trusted.mine", "value");
  set("srv/private/tool", "trusted.mine", "value");
  ASSERT_TRUE(fill(std::string_view("srv\0srv/secret\0srv/private/tool\0", 32))) << errno;
  EXPECT_EQ(get("srv", "system.posix_acl_default"), kAclForAUser);
  for (const char* path : {"srv/private", "srv/secret", "srv/private/tool"}) {
    expect_same(path);
    for (const char* acl : {"system.posix_acl_access", "system.posix_acl_default"})
      EXPECT_EQ(get(path, acl), "none: " + std::to_string(ENODATA)) << path << ' ' << acl;
  }
}

TEST_F(AttributeLayer, NamesOfOneFileAreOfOneFile) {
  fs::create_hard_link(image_ / "usr/bin/ping", image_ / "usr/pong");
  set("usr/pong", "trusted.mine", "value");
  ASSERT_TRUE(fill(std::string_view("usr/bin/ping\0usr/pong\0", 22))) << errno;
  EXPECT_EQ(look(layer_ / "usr/pong").st_ino, look(layer_ / "usr/bin/ping").st_ino);
  EXPECT_EQ(get("usr/bin/ping", "trusted.mine"), "value");
}

TEST_F(AttributeLayer, OtherKindsAreWhatTheyAre) {
  fs::create_symlink("../nowhere", image_ / "usr/link");
  ASSERT_EQ(mkfifo((image_ / "usr/fifo").c_str(), 0640), 0);
  ASSERT_EQ(mknod((image_ / "usr/device").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  for (const char* path : {"usr/link", "usr/fifo", "usr/device"}) {
    set(path, "trusted.mine", "value");
    set_mtime(image_ / path, 4000);
  }
  ASSERT_TRUE(fill(std::string_view("usr/link\0usr/fifo\0usr/device\0", 29))) << errno;
  for (const char* path : {"usr/link", "usr/fifo", "usr/device"}) {
    expect_same(path);
    EXPECT_EQ(get(path, "trusted.mine"), "value") << path;
  }
  EXPECT_EQ(fs::read_symlink(layer_ / "usr/link"), "../nowhere");
  EXPECT_EQ(look(layer_ / "usr/device").st_rdev, makedev(1, 3));
}

TEST_F(AttributeLayer, WhatIsNotThereFails) {
  EXPECT_FALSE(fill(std::string_view("usr/none\0", 9)));
  EXPECT_EQ(errno, ENOENT);
}

// A file system that is no image of vfsd's knows no such question.
TEST_F(AttributeLayer, AnotherServerIsAskedAsEver) {
  EXPECT_FALSE(lay_attributes(image_, layer_ / "never"));
  EXPECT_FALSE(fs::exists(layer_ / "never"));
}

}  // namespace
}  // namespace guest_init
