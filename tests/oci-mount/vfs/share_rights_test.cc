// Whose the objects of a shared directory are, and that no rights come out of it, in the guest or on the
// host. Runs as root and as an ordinary user.
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "tests/oci-mount/vfs/share_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecord = "user.containers.override_stat";

class ShareRightsTest : public ShareFsTest {};

TEST_F(ShareRightsTest, LeavesNothingWithRightsOfItsOwn) {
  EXPECT_EQ(drive().mknod("null", S_IFCHR | 0666, 0x103), EPERM);
  EXPECT_EQ(drive().mknod("disk", S_IFBLK | 0666, 0x800), EPERM);
  EXPECT_EQ(drive().create("tool", "#!", 06755), 0);
  EXPECT_EQ(stat_of(host("tool")).st_mode & 07777, 0755U);
  EXPECT_EQ(drive().attr("tool").mode & 07777, 0755U);
  vfs::AttrChange change;
  change.mode = 04711;
  EXPECT_EQ(drive().setattr("tool", change), 0);
  EXPECT_EQ(stat_of(host("tool")).st_mode & 07000, 0U);
  EXPECT_EQ(drive().attr("tool").mode & 07777, 0711U);
  for (const char* name : {"security.capability", "trusted.overlay.opaque", "system.posix_acl_access"}) {
    EXPECT_EQ(drive().setxattr("tool", name, "v"), EOPNOTSUPP) << name;
  }
  EXPECT_EQ(drive().setxattr("tool", kRecord, "0:0:4777:file"), EPERM);
  EXPECT_EQ(drive().rename("tool", "t", RENAME_WHITEOUT), EINVAL);
  EXPECT_EQ(drive().mkdir("d", 01777), 0);
  change.mode = 03770;
  EXPECT_EQ(drive().setattr("d", change), 0);
  EXPECT_EQ(drive().attr("d").mode & 07777, 03770U);
}

TEST_F(ShareRightsTest, SetIdBitsOfTheHostGoWhenTheGuestChangesTheFile) {
  put(host("tool"), "#!");
  for (const bool owner : {false, true}) {
    ASSERT_EQ(::chmod(host("tool").c_str(), 04755), 0);
    EXPECT_EQ(drive().attr("tool").mode & 07777, 04755U);
    vfs::AttrChange change;
    if (owner) change.uid = 1000;
    if (!owner) change.mode = 04755;
    ASSERT_EQ(drive().setattr("tool", change), 0);
    EXPECT_EQ(stat_of(host("tool")).st_mode & 07777, 0755U);
    EXPECT_EQ(drive().attr("tool").mode & 07777, 0755U);
  }
}

TEST_F(ShareRightsTest, OwnersAreKept) {
  ASSERT_EQ(drive().create("file", "x", 0600), 0);
  vfs::AttrChange change;
  change.uid = 1000;
  change.gid = 1001;
  ASSERT_EQ(drive().setattr("file", change), 0);
  restart();
  EXPECT_EQ(drive().attr("file").uid, 1000U);
  EXPECT_EQ(drive().attr("file").gid, 1001U);
  EXPECT_EQ(drive().attr("file").mode & 0777, 0600U);
  const auto st = stat_of(host("file"));
  if (::geteuid() == 0) {
    EXPECT_EQ(st.st_uid, 1000U);
    EXPECT_LT(::lgetxattr(host("file").c_str(), kRecord, nullptr, 0), 0);
  } else {
    EXPECT_EQ(st.st_uid, ::geteuid());
  }
  // Unrecorded, whoever's daemon it is: root's, or the host's own.
  put(host("plain"), "");
  EXPECT_EQ(drive().attr("plain").uid, 0U);
  // The host's word on the mode is the newer one.
  fs::permissions(host("file"), fs::perms(0640));
  EXPECT_EQ(drive().attr("file").mode & 0777, 0640U);
  // As it was, there is nothing to record.
  change.uid = 0;
  change.gid = 0;
  ASSERT_EQ(drive().setattr("file", change), 0);
  EXPECT_LT(::lgetxattr(host("file").c_str(), kRecord, nullptr, 0), 0);
  EXPECT_EQ(drive().attr("file").uid, 0U);
}

TEST_F(ShareRightsTest, RecordsAreBelievedOfWhatNobodyElseCanWrite) {
  put(host("file"), "x");
  fs::create_directory(host("d"));
  for (const char* name : {"file", "d"})
    ASSERT_EQ(::lsetxattr(host(name).c_str(), kRecord, "5:6:4755:file", 13, 0), 0);
  for (const char* name : {"file", "d"}) ASSERT_EQ(::chmod(host(name).c_str(), 0755), 0);
  const bool root = ::geteuid() == 0;
  EXPECT_EQ(drive().attr("file").mode & 07000, 0U) << "no record gives such rights";
  EXPECT_EQ(drive().attr("file").uid, root ? 0U : 5U);
  EXPECT_EQ(drive().attr("d").gid, root ? 0U : 6U);
  for (const char* name : {"file", "d"}) ASSERT_EQ(::chmod(host(name).c_str(), 0775), 0);
  EXPECT_EQ(drive().attr("file").uid, 0U);
  EXPECT_EQ(drive().attr("d").gid, 0U);
  // What is recorded is closed to others on the host, whatever the guest sees.
  ASSERT_EQ(drive().create("shared", "x", 0666), 0);
  EXPECT_EQ(stat_of(host("shared")).st_mode & 0777, 0666U);
  vfs::AttrChange change;
  change.uid = 7;
  ASSERT_EQ(drive().setattr("shared", change), 0);
  EXPECT_EQ(drive().attr("shared").uid, 7U);
  EXPECT_EQ(drive().attr("shared").mode & 0777, 0666U);
  EXPECT_EQ(stat_of(host("shared")).st_mode & 0777, root ? 0666U : 0644U);
}

/// As the driver does nothing but as root.
class ShareCallerTest : public ShareFsTest {
 protected:
  vfs::Attr made(const Result<vfs::Entry>& entry) {
    EXPECT_TRUE(entry) << entry.error().describe();
    if (!entry) return {};
    drive().release(entry->id);
    return entry->attr;
  }
};

TEST_F(ShareCallerTest, NewObjectsAreTheCallers) {
  const vfs::Caller caller{.uid = 1000, .gid = 1001, .umask = 027};
  const bool root = ::geteuid() == 0;
  ASSERT_EQ(::chmod(host().c_str(), 0777), 0);
  const vfs::Attr attrs[] = {
      made(share_->create(vfs::kRootId, "file", 0666, true, caller)),
      made(share_->mkdir(vfs::kRootId, "d", 0777, caller)),
      made(share_->symlink(vfs::kRootId, "link", "file", caller)),
      made(share_->mknod(vfs::kRootId, "pipe", S_IFIFO | 0666, 0, caller)),
      made(share_->tmpfile(vfs::kRootId, 0666, caller)),
  };
  for (const auto& attr : attrs) {
    const bool is_kept = root || S_ISREG(attr.mode) || S_ISDIR(attr.mode);
    EXPECT_EQ(attr.uid, is_kept ? 1000U : 0U) << std::oct << attr.mode;
    EXPECT_EQ(attr.gid, is_kept ? 1001U : 0U) << std::oct << attr.mode;
  }
  EXPECT_EQ(attrs[0].mode & 0777, 0640U);
  EXPECT_EQ(attrs[1].mode & 0777, 0750U);
  EXPECT_EQ(attrs[4].mode & 0777, 0640U);
  if (!root) return;
  for (const char* name : {"file", "d", "link", "pipe"}) {
    EXPECT_EQ(stat_of(host(name)).st_uid, 1000U) << name;
    EXPECT_EQ(stat_of(host(name)).st_gid, 1001U) << name;
  }
  put(host("mine"), "");
  EXPECT_EQ(stat_of(host("mine")).st_uid, 0U) << "only for that moment";
}

TEST_F(ShareCallerTest, ADirectoryHandsDownItsGroup) {
  ASSERT_EQ(drive().mkdir("d", 0755), 0);
  vfs::AttrChange change;
  change.gid = 50;
  ASSERT_EQ(drive().setattr("d", change), 0);
  change.gid.reset();
  change.mode = 02777;
  ASSERT_EQ(drive().setattr("d", change), 0);
  EXPECT_EQ(drive().attr("d").mode & 07777, 02777U);
  const auto d = drive().acquire("d");
  const vfs::Caller caller{.uid = 1000, .gid = 1001};
  EXPECT_EQ(made(share_->create(d, "file", 0666, true, caller)).gid, 50U);
  const auto below = made(share_->mkdir(d, "below", 0755, caller));
  EXPECT_EQ(below.gid, 50U);
  EXPECT_EQ(below.mode & 07777, 02755U);
  drive().release(d);
}

TEST_F(ShareCallerTest, TheGuestsUsersAreWhomTheMapSays) {
  options_.ids = *parse_id_map("0-1000-1+100-2000-10:0-3000-1+100-4000-10");
  if (::geteuid() != 0) {
    const auto refused = vfs::ShareFs::open(options_, workers_, memory_);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EPERM);
    return;
  }
  put(host("roots"), "");
  ASSERT_EQ(::chown(host().c_str(), 1000, 3000), 0);
  restart();
  EXPECT_EQ(drive().create("file", "x"), 0);
  EXPECT_EQ(stat_of(host("file")).st_uid, 1000U);
  EXPECT_EQ(stat_of(host("file")).st_gid, 3000U);
  EXPECT_EQ(drive().attr("file").uid, 0U);
  EXPECT_EQ(drive().attr("file").gid, 0U);
  EXPECT_EQ(drive().attr("roots").uid, IdRanges::kNobody);
  vfs::AttrChange change;
  change.uid = 103;
  change.gid = 104;
  EXPECT_EQ(drive().setattr("file", change), 0);
  EXPECT_EQ(stat_of(host("file")).st_uid, 2003U);
  EXPECT_EQ(stat_of(host("file")).st_gid, 4004U);
  EXPECT_EQ(drive().attr("file").uid, 103U);
  change.uid = 7;
  EXPECT_EQ(drive().setattr("file", change), EOVERFLOW);
  EXPECT_EQ(share_->mkdir(vfs::kRootId, "d", 0755, {.uid = 7, .gid = 0}).error().code, EOVERFLOW);
  // Of somebody whom the guest does not know it sees no right, and leaves him what is his.
  ASSERT_EQ(::chmod(host("roots").c_str(), 04755), 0);
  EXPECT_EQ(drive().attr("roots").mode & 07777, 0755U);
  vfs::AttrChange mode;
  mode.mode = 0700;
  EXPECT_EQ(drive().setattr("roots", mode), EPERM);
  EXPECT_EQ(stat_of(host("roots")).st_uid, 0U);
  EXPECT_EQ(stat_of(host("roots")).st_mode & 07777, 04755U);
}

/// A client may ask for what Linux's would not: the map holds here, too.
TEST_F(ShareCallerTest, WhomTheMapDoesNotKnowKeepsWhatIsHis) {
  if (::geteuid() != 0) GTEST_SKIP() << "a map of ids is root's";
  options_.ids = *parse_id_map("1000:1000");
  ASSERT_EQ(::chown(host().c_str(), 1000, 1000), 0);
  for (const char* name : {"secret", "open", "groups"}) put(host(name), name);
  ASSERT_EQ(::chmod(host("secret").c_str(), 0600), 0);
  ASSERT_EQ(::chmod(host("open").c_str(), 0666), 0);
  ASSERT_EQ(::chmod(host("groups").c_str(), 0660), 0);
  ASSERT_EQ(::chown(host("groups").c_str(), 0, 1000), 0);
  fs::create_directory(host("closed"));
  fs::create_directory(host("listed"));
  fs::create_directory(host("entered"));
  for (const char* name : {"closed/file", "listed/file", "entered/file"}) put(host(name), "below");
  ASSERT_EQ(::chmod(host("closed").c_str(), 0700), 0);
  ASSERT_EQ(::chmod(host("listed").c_str(), 0704), 0);
  ASSERT_EQ(::chmod(host("entered").c_str(), 0777), 0);
  restart();
  ASSERT_EQ(drive().create("mine", "m"), 0);

  EXPECT_EQ(drive().read("secret"), "error: Permission denied");
  const auto secret = drive().acquire("secret");
  for (const std::uint32_t access : {0U, 1U, 2U})  // O_RDONLY, O_WRONLY, O_RDWR
    EXPECT_EQ(share_->open_file(secret, access).error().code, EACCES) << access;
  EXPECT_EQ(share_->getxattr(secret, "user.x").error().code, EACCES);
  drive().release(secret);
  for (const char* name : {"open", "groups"}) {
    EXPECT_EQ(drive().read(name), name);
    const auto node = drive().acquire(name);
    EXPECT_EQ(share_->open_file(node, O_WRONLY).error().code, EACCES) << name;
    EXPECT_EQ(write_node(node, "?"), EACCES) << name;
    drive().release(node);
    EXPECT_EQ(drive().setxattr(name, "user.x", "v"), EACCES) << name;
  }
  for (const char* name : {"secret", "open", "groups", "closed"}) {
    vfs::AttrChange owner;
    owner.uid = 0;
    owner.gid = 0;
    vfs::AttrChange times;
    times.mtime = vfs::TimeChange{};
    for (const auto& change : {owner, times}) EXPECT_EQ(drive().setattr(name, change), EPERM) << name;
    EXPECT_EQ(stat_of(host(name)).st_uid, 0U);
    EXPECT_EQ(drive().rename(name, "elsewhere"), EPERM) << name;
    EXPECT_EQ(drive().rename("mine", name), EPERM) << name;
    if (std::string_view(name) == "closed") continue;
    EXPECT_EQ(drive().unlink(name), EPERM) << name;
    EXPECT_EQ(drive().link(name, "another"), EPERM) << name;
  }
  EXPECT_EQ(drive().rmdir("closed"), EPERM);

  const auto node_of = [this](const char* name) { return drive().acquire(name); };
  const auto closed = node_of("closed");
  EXPECT_EQ(share_->lookup(closed, "file").error().code, EACCES);
  EXPECT_EQ(share_->readdir(closed, 0, true, [](auto&&...) { return true; }).error().code, EACCES);
  drive().release(closed);
  const auto listed = node_of("listed");
  EXPECT_EQ(share_->lookup(listed, "file").error().code, EACCES);
  bool gives_nodes = false;
  EXPECT_TRUE(share_->readdir(listed, 0, true, [&](const vfs::Dirent&, const vfs::Entry& entry) {
    gives_nodes = gives_nodes || entry.id != 0;
    return true;
  }));
  EXPECT_FALSE(gives_nodes) << "names alone, where they may not be looked up";
  drive().release(listed);
  EXPECT_EQ(drive().read("entered/file"), "below");
  EXPECT_EQ(drive().create("entered/new", "n"), EACCES);
  EXPECT_EQ(drive().rename("mine", "entered/mine"), EACCES);
  EXPECT_EQ(drive().link("mine", "entered/mine"), EACCES);
  EXPECT_EQ(drive().unlink("entered/file"), EACCES);
  EXPECT_EQ(drive().read("mine"), "m");
}

/// Where an ACL is, the mode's bits of the group are its mask.
TEST_F(ShareCallerTest, AnAclGivesAGroupNoRightsByItsMask) {
  if (::geteuid() != 0) GTEST_SKIP() << "a map of ids is root's";
  options_.ids = *parse_id_map("1000:1000");
  ASSERT_EQ(::chown(host().c_str(), 1000, 1000), 0);
  for (const char* name : {"plain", "secret"}) put(host(name), name);
  fs::create_directory(host("closed"));
  put(host("closed/file"), "below");
  for (const char* name : {"plain", "secret", "closed"}) {
    ASSERT_EQ(::chown(host(name).c_str(), 0, 1000), 0);
    ASSERT_EQ(::chmod(host(name).c_str(), S_ISDIR(stat_of(host(name)).st_mode) ? 0750 : 0640), 0);
  }
  // user::rwx, user:1234:r-x, group::---, mask::r-x, other::---
  const std::string acl =
      acl_text({{0x01, 7, ~0U}, {0x02, 5, 1234}, {0x04, 0, ~0U}, {0x10, 5, ~0U}, {0x20, 0, ~0U}});
  for (const char* name : {"secret", "closed"}) {
    if (::setxattr(host(name).c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0) != 0)
      GTEST_SKIP() << "this host keeps no ACLs";
    ASSERT_EQ(stat_of(host(name)).st_mode & 0777, 0750U);
  }
  restart();
  EXPECT_EQ(drive().read("plain"), "plain");
  EXPECT_EQ(drive().read("secret"), "error: Permission denied");
  const auto closed = drive().acquire("closed");
  EXPECT_EQ(share_->lookup(closed, "file").error().code, EACCES);
  EXPECT_EQ(share_->readdir(closed, 0, true, [](auto&&...) { return true; }).error().code, EACCES);
  drive().release(closed);
}

TEST_F(ShareCallerTest, AnOwnerWhomTheMapKnowsReadsWhatIsHisInAnotherGroup) {
  if (::geteuid() != 0) GTEST_SKIP() << "a map of ids is root's";
  options_.ids = *parse_id_map("1000:1000");
  ASSERT_EQ(::chown(host().c_str(), 1000, 1000), 0);
  fs::create_directory(host("d"));
  put(host("d/file"), "his");
  for (const char* name : {"d/file", "d"}) {
    ASSERT_EQ(::chown(host(name).c_str(), 1000, 0), 0);
    ASSERT_EQ(::chmod(host(name).c_str(), std::string_view(name) == "d" ? 0750 : 0640), 0);
  }
  restart();
  EXPECT_EQ(drive().read("d/file"), "his");
  const auto file = drive().acquire("d/file");
  EXPECT_EQ(share_->open_file(file, O_WRONLY).error().code, EACCES) << "as Linux has it";
  drive().release(file);
  EXPECT_EQ(drive().create("d/new", "n"), EACCES);
  ASSERT_EQ(::chmod(host("d/file").c_str(), 0240), 0);
  EXPECT_EQ(drive().read("d/file"), "error: Permission denied") << "not what the group may";
}

}  // namespace
}  // namespace layerboot::test
