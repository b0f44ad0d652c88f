// Who may what in a mounted image: POSIX ACLs, the umask, and set-id bits, as the kernel decides by what we
// tell it.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "oci-mount/base/unique_fd.h"
#include "tests/process/mount_support.h"
#include "tests/support/acl_text.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

/// What `work` returns, done by somebody else: an exit code, so 0 or an errno.
int as(const User& user, const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool changed = ::setgroups(user.groups.size(), user.groups.data()) == 0 &&
                         ::setgid(user.gid) == 0 && ::setuid(user.uid) == 0;
    ::_exit(changed ? work() : 255);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

int code(int status) { return status == 0 ? 0 : errno; }

int open_code(const fs::path& path, int flags, mode_t mode = 0) {
  const UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  return fd ? 0 : errno;
}

int mode_of(const fs::path& path) {
  struct stat st{};
  return ::lstat(path.c_str(), &st) == 0 ? static_cast<int>(st.st_mode & 07777U) : -errno;
}

std::string acl_of(const fs::path& path, const char* name) {
  std::string text(200, '\0');
  const ssize_t length = ::lgetxattr(path.c_str(), name, text.data(), text.size());
  if (length < 0) return "error " + std::to_string(errno);
  return text.substr(0, static_cast<std::size_t>(length));
}

int set_acl(const fs::path& path, const char* name, const std::string& acl) {
  return code(::lsetxattr(path.c_str(), name, acl.data(), acl.size(), 0));
}

/// user::rw-, user:1000:rw-, group::---, mask::rw-, other::---: mode 0660, but not for the group.
std::string for_one_user() {
  return acl_text({{0x01, 6, ~0U}, {0x02, 6, 1000}, {0x04, 0, ~0U}, {0x10, 6, ~0U}, {0x20, 0, ~0U}});
}
/// user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::---
std::string to_hand_down() {
  return acl_text({{0x01, 7, ~0U}, {0x02, 7, 1000}, {0x04, 5, ~0U}, {0x10, 7, ~0U}, {0x20, 0, ~0U}});
}

class MountAclTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    if (::geteuid() != 0) GTEST_SKIP() << "acts as several users";
    fs::permissions(dir_.path(), fs::perms(0755));
    fs::create_directories(mnt());
    TarMember secret;
    secret.name = "secret";
    secret.mode = 0660;
    secret.gid = 2000;
    secret.content = "s";
    secret.pax = {{std::string("SCHILY.xattr.") + kAccess, for_one_user()}};
    ImageBuilder builder(dir_ / "image");
    builder.add_gzip_layer(TarBuilder().add(secret).directory("open", 0777).finish());
    builder.write();
  }
  [[nodiscard]] std::vector<std::string> arguments(std::vector<std::string> more) const {
    more.insert(more.begin(), "oci:" + (dir_ / "image").string());
    return more;
  }
  [[nodiscard]] std::vector<std::string> writable() const {
    return arguments({"--allow-other", "--upper", (dir_ / "vm").string()});
  }
  [[nodiscard]] fs::path mnt() const { return dir_ / "mnt"; }
  [[nodiscard]] fs::path mnt(const std::string& path) const { return mnt() / path; }
  [[nodiscard]] fs::path cache() const { return dir_ / "cache"; }

  const User named_{1000, 1000, {}};
  const User grouped_{3000, 2000, {}};
  TempDir dir_;
};

TEST_F(MountAclTest, AnImagesAclDecides) {
  for (const auto& words : {arguments({"--allow-other"}), writable()}) {
    const Mounted mounted(words, cache(), mnt());
    ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
    EXPECT_EQ(acl_of(mnt("secret"), kAccess), for_one_user());
    EXPECT_EQ(as(named_, [&] { return open_code(mnt("secret"), O_RDONLY); }), 0);
    EXPECT_EQ(as(grouped_, [&] { return open_code(mnt("secret"), O_RDONLY); }), EACCES);
  }
}

// The kernel asks for the ACL of what is another's, and takes what is no answer for the open's error.
TEST_F(MountAclTest, WithoutAnyXattrInTheImageTheModeDecides) {
  TarMember others;
  others.name = "others";
  others.content = "o";
  others.uid = others.gid = 2000;
  TarMember groups = others;
  groups.name = "groups";
  groups.mode = 0640;
  ImageBuilder builder(dir_ / "plain");
  builder.add_gzip_layer(TarBuilder().add(others).add(groups).file("roots", "r").finish());
  builder.write();
  const Mounted mounted({"oci:" + (dir_ / "plain").string(), "--allow-other"}, cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("others"), O_RDONLY); }), 0);
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("roots"), O_RDONLY); }), 0);
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("groups"), O_RDONLY); }), EACCES);
  EXPECT_EQ(as(grouped_, [&] { return open_code(mnt("groups"), O_RDONLY); }), 0);
  EXPECT_EQ(acl_of(mnt("others"), kAccess), "error " + std::to_string(ENODATA));
}

TEST_F(MountAclTest, WhoReadsAllReadsAclsToo) {
  const Mounted mounted(arguments({"--read-all"}), cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  EXPECT_EQ(acl_of(mnt("secret"), kAccess), for_one_user());
}

TEST_F(MountAclTest, ADefaultAclReplacesTheUmask) {
  const Mounted mounted(writable(), cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  ASSERT_EQ(::mkdir(mnt("d").c_str(), 0755), 0);
  ASSERT_EQ(set_acl(mnt("d"), kDefault, to_hand_down()), 0);
  const mode_t before = ::umask(027);
  EXPECT_EQ(open_code(mnt("d/file"), O_WRONLY | O_CREAT | O_EXCL, 0666), 0);
  EXPECT_EQ(::mkdir(mnt("d/sub").c_str(), 0777), 0);
  EXPECT_EQ(::mknod(mnt("d/fifo").c_str(), S_IFIFO | 0666, 0), 0);
  EXPECT_EQ(::symlink("file", mnt("d/link").c_str()), 0);
  EXPECT_EQ(open_code(mnt("plain"), O_WRONLY | O_CREAT | O_EXCL, 0666), 0);
  EXPECT_EQ(::mkdir(mnt("plain-d").c_str(), 0777), 0);
  EXPECT_EQ(::mknod(mnt("plain-fifo").c_str(), S_IFIFO | 0666, 0), 0);
  ::umask(before);
  EXPECT_EQ(mode_of(mnt("d/file")), 0660);
  EXPECT_EQ(mode_of(mnt("d/fifo")), 0660);
  EXPECT_EQ(mode_of(mnt("d/sub")), 0770);
  EXPECT_EQ(acl_of(mnt("d/sub"), kDefault), to_hand_down());
  EXPECT_EQ(acl_of(mnt("d/sub"), kAccess), to_hand_down());
  EXPECT_EQ(mode_of(mnt("plain")), 0640);
  EXPECT_EQ(mode_of(mnt("plain-fifo")), 0640);
  EXPECT_EQ(mode_of(mnt("plain-d")), 0750);
  ::chmod(mnt("d").c_str(), 0755);
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("d/file"), O_RDWR); }), 0);
  EXPECT_EQ(as({3000, 3000, {}}, [&] { return open_code(mnt("d/file"), O_RDONLY); }), EACCES);
}

TEST_F(MountAclTest, ModeAndMaskAreOne) {
  const Mounted mounted(writable(), cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("secret"), O_WRONLY); }), 0);
  EXPECT_EQ(::chmod(mnt("secret").c_str(), 0640), 0);
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("secret"), O_WRONLY); }), EACCES);
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("secret"), O_RDONLY); }), 0);
  EXPECT_EQ(set_acl(mnt("secret"), kAccess, for_one_user()), 0);
  EXPECT_EQ(mode_of(mnt("secret")), 0660);
  EXPECT_EQ(as(named_, [&] { return open_code(mnt("secret"), O_WRONLY); }), 0);
  // Of three entries nothing stays but the mode.
  EXPECT_EQ(set_acl(mnt("secret"), kAccess, acl_text({{0x01, 6, ~0U}, {0x04, 4, ~0U}, {0x20, 4, ~0U}})), 0);
  EXPECT_EQ(mode_of(mnt("secret")), 0644);
  EXPECT_EQ(acl_of(mnt("secret"), kAccess), "error " + std::to_string(ENODATA));
  EXPECT_EQ(::lremovexattr(mnt("secret").c_str(), kDefault), 0);
  EXPECT_EQ(as(named_, [&] { return set_acl(mnt("secret"), kAccess, for_one_user()); }), EPERM);
}

// An owner who is not of his file's group can't keep it setgid by way of an ACL, nor make it so.
TEST_F(MountAclTest, AnAclBySomebodyOutsideTheGroupTakesSetgidAway) {
  const Mounted mounted(writable(), cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  const User outside{1000, 1000, {}};
  const User inside{1000, 1000, {2000}};
  for (const auto& [user, mode] : {std::pair{inside, 02755}, std::pair{outside, 0755}}) {
    const auto file = mnt("open") / std::to_string(mode);
    ASSERT_EQ(open_code(file, O_WRONLY | O_CREAT, 0600), 0);
    ASSERT_EQ(::chown(file.c_str(), 1000, 2000), 0);
    ASSERT_EQ(::chmod(file.c_str(), 02600), 0);
    const auto acl = acl_text({{0x01, 7, ~0U}, {0x04, 5, ~0U}, {0x20, 5, ~0U}});
    EXPECT_EQ(as(user, [&] { return set_acl(file, kAccess, acl); }), 0);
    EXPECT_EQ(mode_of(file), mode);
  }
  // Of what a setgid directory hands down, too.
  ASSERT_EQ(::chown(mnt("open").c_str(), 0, 2000), 0);
  ASSERT_EQ(::chmod(mnt("open").c_str(), 02777), 0);
  for (const auto& [user, mode] : {std::pair{inside, 02755}, std::pair{outside, 0755}}) {
    const auto file = mnt("open") / ("new" + std::to_string(mode));
    EXPECT_EQ(as(user, [&] { return open_code(file, O_WRONLY | O_CREAT | O_EXCL, 02755); }), 0);
    EXPECT_EQ(mode_of(file), mode);
  }
}

TEST_F(MountAclTest, AChownByTheOwnerClearsSetIdBitsOfEveryType) {
  const Mounted mounted(writable(), cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  const User owner{1000, 1000, {1001}};
  for (const mode_t type :
       std::initializer_list<mode_t>{S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFDIR}) {
    for (const bool changes : {true, false}) {
      const auto path = mnt("object");
      ASSERT_EQ(S_ISDIR(type) ? ::mkdir(path.c_str(), 0755) : ::mknod(path.c_str(), type | 0755, 0x0102), 0);
      ASSERT_EQ(::chown(path.c_str(), 1000, 1000), 0);
      ASSERT_EQ(::chmod(path.c_str(), 06755), 0);
      const gid_t group = changes ? 1001 : static_cast<gid_t>(-1);
      EXPECT_EQ(as(owner, [&] { return code(::chown(path.c_str(), static_cast<uid_t>(-1), group)); }), 0);
      EXPECT_EQ(mode_of(path), S_ISDIR(type) ? 06755 : 0755) << std::oct << type << changes;
      fs::remove(path);
    }
  }
}

}  // namespace
}  // namespace layerboot::test
