// Extended attributes: the guest's, kept whole; ours, never seen.
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

std::vector<std::string> image_with_xattrs() {
  auto tars = test_image();
  TarMember file;
  file.name = "tagged";
  file.content = "x";
  file.pax = {{"SCHILY.xattr.user.colour", "blue"}, {"SCHILY.xattr.trusted.overlay.opaque", "y"}};
  TarMember link;
  link.type = '2';
  link.name = "tagged-link";
  link.link = "tagged";
  link.pax = {{"SCHILY.xattr.user.colour", "red"}};
  tars.push_back(TarBuilder().add(file).add(link).finish());
  return tars;
}

class XattrTest : public WritableFsTest {
 protected:
  XattrTest() : WritableFsTest(image_with_xattrs()) {}
  std::set<std::string> names(std::string_view path) {
    const auto list = fs->listxattr(drive().acquire(path));
    std::set<std::string> names;
    for (std::string_view rest = list ? *list : std::string_view(); !rest.empty();) {
      const auto end = rest.find('\0');
      names.emplace(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    return names;
  }
};

TEST_F(XattrTest, EveryNamespaceRoundTripsOnImageAndOwnObjects) {
  EXPECT_EQ(drive().create("own", "x"), 0);
  EXPECT_EQ(drive().mkdir("own-directory"), 0);
  for (const char* path : {"own", "own-directory", "etc/small", "deep", "tagged"}) {
    for (const char* name : {"user.a", "trusted.b", "security.c", "trusted.overlay.opaque",
                             "trusted.overlay.redirect", "trusted.overlay.layerboot.origin"}) {
      EXPECT_EQ(drive().setxattr(path, name, std::string("value\0of ", 9) + name), 0) << path << ' ' << name;
    }
  }
  for (int i = 0; i < 2; ++i) {
    for (const char* path : {"own", "own-directory", "etc/small", "deep", "tagged"}) {
      EXPECT_EQ(xattr(path, "trusted.overlay.opaque"),
                std::string("value\0of ", 9) + "trusted.overlay.opaque");
      EXPECT_TRUE(names(path).contains("trusted.overlay.redirect")) << path;
      EXPECT_EQ(names(path).size(), std::string_view(path) == "tagged" ? 7U : 6U) << path;
    }
    // The guest's mark is no mark of ours: the directory still merges.
    EXPECT_EQ(drive().read("deep/er/est/file"), "far down");
    restart();
  }
  EXPECT_EQ(drive().removexattr("deep", "trusted.overlay.opaque"), 0);
  EXPECT_EQ(xattr("deep", "trusted.overlay.opaque"), "error: " + std::to_string(ENODATA));
}

TEST_F(XattrTest, OursAreInvisible) {
  EXPECT_EQ(drive().write("etc/small", 0, "x"), 0);  // has an origin
  EXPECT_EQ(drive().rename("deep", "moved"), 0);     // has a redirect
  EXPECT_EQ(drive().rmdir("empty"), 0);
  EXPECT_EQ(drive().mkdir("empty"), 0);  // is opaque
  for (const char* path : {"etc/small", "moved", "empty"}) EXPECT_TRUE(names(path).empty()) << path;
  EXPECT_EQ(xattr("etc/small", "trusted.overlay.layerboot.origin"), "error: " + std::to_string(ENODATA));
  EXPECT_EQ(drive().removexattr("moved", "trusted.overlay.redirect"), ENODATA);
  restart();
  EXPECT_EQ(drive().read("moved/er/est/file"), "far down");
}

TEST_F(XattrTest, TheImagesAreSeenAndSurviveCopyUp) {
  EXPECT_EQ(xattr("tagged", "user.colour"), "blue");
  EXPECT_EQ(set_mode("tagged", 0600), 0);
  EXPECT_EQ(xattr("tagged", "user.colour"), "blue");
  EXPECT_EQ(xattr("tagged", "trusted.overlay.opaque"), "error: " + std::to_string(ENODATA))
      << "no mark of an image's";
  // A symlink can't have user.* on the host: that must not make it immovable.
  EXPECT_EQ(drive().rename("tagged-link", "moved-link"), 0);
  EXPECT_NE(drive().acquire("moved-link"), 0U);
}

TEST_F(XattrTest, FlagsAndBadNames) {
  const auto node = drive().acquire("etc/small");
  const auto set = [&](std::string_view name, std::string_view value, std::uint32_t flags) {
    return code_of(wait(fs->setxattr(*drive().reactor, node, name, value, flags)));
  };
  EXPECT_EQ(set("user.a", "1", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(set("user.a", "1", XATTR_CREATE), 0);
  EXPECT_EQ(set("user.a", "2", XATTR_CREATE), EEXIST);
  EXPECT_EQ(set("user.a", "2", XATTR_REPLACE), 0);
  EXPECT_EQ(set("user.a", "2", 0xff), EINVAL);
  EXPECT_EQ(set("user.b", std::string(70'000, 'x'), 0), E2BIG);
  for (const std::string& name :
       {std::string(), std::string("user.\0x", 7), std::string("user."), std::string("x"),
        "user." + std::string(300, 'x'), std::string("system.nfs4_acl")}) {
    EXPECT_NE(set(name, "x", 0), 0) << name;
    EXPECT_FALSE(fs->getxattr(node, name)) << name;
    EXPECT_FALSE(wait(fs->removexattr(*drive().reactor, node, name))) << name;
  }
  EXPECT_EQ(names("etc/small"), (std::set<std::string>{"user.a"}));
}

// Attributes that do not fit into the inode take a block: it must be booked at once, and not get lost when
// the client forgets the file.
TEST_F(XattrTest, TheirBlocksAreBooked) {
  for (int i = 0; i < 50; ++i) {
    const auto made = fs->create(vfs::kRootId, "f" + std::to_string(i), 0644, true, {});
    ASSERT_TRUE(made);
    const auto value = std::string(2000, 'x');
    EXPECT_TRUE(wait(fs->setxattr(*drive().reactor, made->id, "user.big", value, 0)));
    drive().release(made->id);
  }
  EXPECT_GE(booked().bytes, 50U * 4096);
  EXPECT_EQ(booked(), host_usage(directory / "vm"));
}

/// On a host whose blocks do not tell what attributes take, with owners recorded.
class XattrOnTmpfsTest : public testing::Test, protected ImageFixture {
 protected:
  XattrOnTmpfsTest() : ImageFixture(test_image()) {
    upper = tmpfs_ / "vm";
    record_owners = true;
  }
  void SetUp() override {
    struct statfs host{};
    constexpr auto kTmpfsMagic = 0x01021994;
    if (::statfs(tmpfs_.path().c_str(), &host) != 0 || host.f_type != kTmpfsMagic) {
      GTEST_SKIP() << tmpfs_.path() << " is on no tmpfs";
    }
    if (::setxattr(tmpfs_.path().c_str(), "user.trial", "", 0, 0) != 0) {
      GTEST_SKIP() << "a tmpfs of this kernel keeps no user.* attributes";
    }
    open_writable();
  }
  std::uint64_t blocks_free() { return fs->statfs()->blocks_free; }

  TempDir tmpfs_{"/dev/shm"};
};

TEST_F(XattrOnTmpfsTest, ACapabilityThatAWriteTakesAwayIsNotCharged) {
  const std::string large(3 * 4096, 'c');
  ASSERT_EQ(driver->create("file", "x"), 0);
  const auto before = blocks_free();
  ASSERT_EQ(driver->setxattr("file", "security.capability", large), 0);
  EXPECT_LT(blocks_free(), before);
  ASSERT_EQ(driver->write("file", 0, "y"), 0);
  EXPECT_EQ(blocks_free(), before);
}

}  // namespace
}  // namespace layerboot::test
