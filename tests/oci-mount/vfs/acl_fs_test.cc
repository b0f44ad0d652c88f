// POSIX ACLs, the umask, and the bits and attributes that a change takes away: what ext4 does with them.
#include <sys/xattr.h>

#include "tests/oci-mount/vfs/writable_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";
constexpr std::uint32_t kAnyone = ~0U;

std::string minimal_acl(std::uint16_t owner, std::uint16_t group, std::uint16_t other) {
  return acl_text({{0x01, owner, kAnyone}, {0x04, group, kAnyone}, {0x20, other, kAnyone}});
}

/// As acl_with_user(), with other bits for the owner and the others.
std::string acl(std::uint16_t owner, std::uint16_t user, std::uint16_t mask, std::uint16_t other) {
  return acl_text({{0x01, owner, kAnyone},
                   {0x02, user, 7},
                   {0x04, 5, kAnyone},
                   {0x10, mask, kAnyone},
                   {0x20, other, kAnyone}});
}

std::vector<std::string> image_with_acls() {
  auto tars = test_image();
  TarMember good;
  good.name = "good-acl";
  good.mode = 0764;
  good.pax = {{std::string("SCHILY.xattr.") + kAccess, acl_with_user(7, 7, 6)}};
  TarMember bad;
  bad.name = "bad-acl";
  bad.pax = {{std::string("SCHILY.xattr.") + kAccess, "nonsense"}};
  tars.push_back(TarBuilder().add(good).add(bad).finish());
  return tars;
}

class AclFsTest : public WritableFsTest {
 protected:
  AclFsTest() : WritableFsTest(image_with_acls()) {}

  std::uint32_t mode(std::string_view path) { return drive().attr(path).mode & 07777U; }
  std::string none() { return "error: " + std::to_string(ENODATA); }
  int set_with_flags(std::string_view path, const char* name, const std::string& value, std::uint32_t flags) {
    const auto node = drive().acquire(path);
    const auto set = wait(fs->setxattr(*drive().reactor, node, name, value, flags));
    drive().release(node);
    return code_of(set);
  }
  /// A file or directory made by a caller with that umask.
  std::uint32_t made(std::string_view in, std::string_view name, std::uint32_t mode_asked,
                     std::uint32_t umask) {
    const auto parent = drive().acquire(in);
    const vfs::Caller caller{.uid = 0, .gid = 0, .also_in = {}, .umask = umask};
    const auto entry = S_ISDIR(mode_asked) ? fs->mkdir(parent, name, mode_asked & 07777U, caller)
                                           : fs->create(parent, name, mode_asked & 07777U, true, caller);
    EXPECT_TRUE(entry) << entry.error().describe();
    EXPECT_GT(entry->attr.nlink, 0U);
    drive().release(parent);
    if (!entry) return 0;
    drive().release(entry->id);
    return entry->attr.mode & 07777U;
  }
};

TEST_F(AclFsTest, AnAclIsTheModesOtherFace) {
  for (const std::string path : {"etc/small", "own"}) {
    if (path == "own") {
      EXPECT_EQ(drive().create(path, "x"), 0);
    }
    EXPECT_EQ(drive().setxattr(path, kAccess, acl_with_user(7, 7, 6)), 0);
    EXPECT_EQ(mode(path), 0764U);
    EXPECT_EQ(set_mode(path, 0640), 0);
    EXPECT_EQ(xattr(path, kAccess), acl(6, 7, 4, 0)) << "chmod changes owner, mask and others";
    restart();
    EXPECT_EQ(xattr(path, kAccess), acl(6, 7, 4, 0));
    EXPECT_EQ(mode(path), 0640U);
    EXPECT_EQ(drive().setxattr(path, kAccess, minimal_acl(7, 5, 1)), 0);
    EXPECT_EQ(mode(path), 0751U);
    EXPECT_EQ(xattr(path, kAccess), none()) << "no more than the mode says";
    EXPECT_EQ(drive().removexattr(path, kAccess), 0);
    EXPECT_EQ(drive().setxattr(path, kAccess, "nonsense"), EINVAL);
    EXPECT_EQ(drive().setxattr(path, kDefault, acl_with_user(7, 7, 7)), EACCES) << "not a directory";
  }
  EXPECT_EQ(drive().setxattr("etc/link", kAccess, acl_with_user(7, 7, 7)), EOPNOTSUPP);
}

TEST_F(AclFsTest, AnImagesAclIsServedIfItIsOne) {
  EXPECT_EQ(xattr("good-acl", kAccess), acl_with_user(7, 7, 6));
  EXPECT_EQ(xattr("bad-acl", kAccess), none());
  EXPECT_EQ(drive().write("good-acl", 0, "x"), 0);
  EXPECT_EQ(drive().write("bad-acl", 0, "x"), 0) << "copy-up leaves it behind";
  EXPECT_EQ(xattr("good-acl", kAccess), acl_with_user(7, 7, 6));
  EXPECT_EQ(mode("good-acl"), 0764U);
  EXPECT_EQ(xattr("bad-acl", kAccess), none());
}

TEST_F(AclFsTest, NewObjectsInheritTheDefaultInsteadOfTheUmask) {
  EXPECT_EQ(made("deep", "plain", S_IFREG | 0666, 027), 0640U);
  EXPECT_EQ(made("deep", "plain-directory", S_IFDIR | 0777, 027), 0750U);
  EXPECT_EQ(drive().setxattr("deep", kDefault, acl_with_user(7, 7, 7)), 0);
  EXPECT_EQ(mode("deep"), 0755U) << "a default ACL is for others";
  for (int i = 0; i < 2; ++i) {
    const std::string n = std::to_string(i);
    EXPECT_EQ(made("deep", "file" + n, S_IFREG | 0666, 027), 0664U);
    EXPECT_EQ(xattr("deep/file" + n, kAccess), acl(6, 7, 6, 4));
    EXPECT_EQ(xattr("deep/file" + n, kDefault), none());
    EXPECT_EQ(made("deep", "directory" + n, S_IFDIR | 0777, 077), 0774U);
    EXPECT_EQ(xattr("deep/directory" + n, kAccess), acl(7, 7, 7, 4));
    EXPECT_EQ(xattr("deep/directory" + n, kDefault), acl_with_user(7, 7, 7));
    EXPECT_EQ(drive().mknod("deep/fifo" + n, S_IFIFO | 0600, 0), 0);
    EXPECT_EQ(mode("deep/fifo" + n), 0600U);
    EXPECT_EQ(xattr("deep/fifo" + n, kAccess), acl(6, 7, 0, 0));
    EXPECT_EQ(drive().symlink("deep/link" + n, "x"), 0);
    EXPECT_EQ(drive().mknod("deep/whiteout" + n, S_IFCHR | 0600, 0), 0);
    restart();
  }
  EXPECT_EQ(drive().removexattr("deep", kDefault), 0);
  EXPECT_EQ(made("deep", "plain2", S_IFREG | 0666, 027), 0640U);
}

TEST_F(AclFsTest, ANamelessFileInheritsToo) {
  EXPECT_EQ(drive().setxattr("deep", kDefault, acl_with_user(7, 7, 7)), 0);
  const auto parent = drive().acquire("deep");
  const auto entry = fs->tmpfile(parent, 0666, {.uid = 0, .gid = 0, .also_in = {}, .umask = 077});
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->attr.mode & 07777U, 0664U);
  const auto linked = wait(fs->link(*drive().reactor, entry->id, parent, "named"));
  ASSERT_TRUE(linked);
  EXPECT_EQ(xattr("deep/named", kAccess), acl(6, 7, 6, 4));
  for (int i = 0; i < 2; ++i) drive().release(entry->id);
  drive().release(parent);
}

TEST_F(AclFsTest, AnAclTakesSetGroupIdAwayWhenTheClientSaysSo) {
  EXPECT_EQ(drive().setxattr("etc/setid", kAccess, acl_with_user(7, 7, 7)), 0);
  EXPECT_EQ(mode("etc/setid"), 06774U);
  EXPECT_EQ(set_with_flags("etc/setid", kAccess, acl_with_user(7, 7, 5), vfs::kXattrKillSgid), 0);
  EXPECT_EQ(mode("etc/setid"), 04754U);
}

TEST_F(AclFsTest, SetGroupIdStaysForAMemberByAnyGroup) {
  EXPECT_EQ(drive().mkdir("shared", 02777), 0);
  vfs::AttrChange change;
  change.gid = 42;
  change.mode = 02777;
  EXPECT_EQ(drive().setattr("shared", change), 0);
  const auto shared = drive().acquire("shared");
  const auto mode_for = [&](const char* name, const vfs::Caller& caller) {
    const auto entry = fs->create(shared, name, 02755, true, caller);
    EXPECT_TRUE(entry);
    EXPECT_EQ(entry->attr.gid, 42U);
    drive().release(entry->id);
    return entry->attr.mode & 07777U;
  };
  EXPECT_EQ(mode_for("stranger", {.uid = 7, .gid = 7}), 0755U) << "CVE-2022-0358";
  EXPECT_EQ(mode_for("member", {.uid = 7, .gid = 42}), 02755U);
  EXPECT_EQ(mode_for("also", {.uid = 7, .gid = 7, .also_in = 42, .umask = 0}), 02755U);
  drive().release(shared);
}

TEST_F(AclFsTest, EveryChangeOfAFileTakesItsCapabilities) {
  // A version 2 capability that gives cap_net_bind_service.
  const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  const char* name = "security.capability";
  EXPECT_EQ(drive().create("own", "content"), 0);
  const auto expect_gone = [&](const char* how, const auto& operation) {
    EXPECT_EQ(drive().setxattr("own", name, capability), 0);
    EXPECT_EQ(xattr("own", name), capability);
    EXPECT_EQ(operation(), 0);
    EXPECT_EQ(xattr("own", name), none()) << how;
  };
  expect_gone("write", [&] { return drive().write("own", 0, "x"); });
  expect_gone("truncate", [&] { return drive().truncate("own", 3); });
  expect_gone("chown", [&] {
    vfs::AttrChange change;
    change.gid = 9;
    return drive().setattr("own", change);
  });
  EXPECT_EQ(drive().setxattr("own", name, capability), 0);
  EXPECT_EQ(set_mode("own", 0755), 0);
  EXPECT_EQ(xattr("own", name), capability) << "chmod does not";
  restart();
  EXPECT_EQ(drive().write("own", 0, "x"), 0);
  EXPECT_EQ(xattr("own", name), none());
}

/// The pages of a mapping and those that a client sends late: it has taken away what was to go when the bytes
/// were written, and has set a capability since.
TEST_F(AclFsTest, LatePagesTakeNoCapability) {
  const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  const char* name = "security.capability";
  EXPECT_EQ(drive().create("own", "content"), 0);
  const auto write_late = [&] { return drive().write("own", 0, "late", vfs::Writer::kPageCache); };
  EXPECT_EQ(write_late(), 0);
  EXPECT_EQ(xattr("own", name), none());
  EXPECT_EQ(drive().setxattr("own", name, capability), 0);
  EXPECT_EQ(write_late(), 0);
  EXPECT_EQ(write_late(), 0);
  EXPECT_EQ(xattr("own", name), capability);
  restart();
  EXPECT_EQ(write_late(), 0);
  EXPECT_EQ(xattr("own", name), capability);
  EXPECT_EQ(drive().write("own", 0, "now"), 0);
  EXPECT_EQ(write_late(), 0);
  EXPECT_EQ(xattr("own", name), none());
}

}  // namespace
}  // namespace layerboot::test
