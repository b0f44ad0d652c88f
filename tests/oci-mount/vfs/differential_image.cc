#include "tests/oci-mount/vfs/differential_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <map>

#include "oci-mount/base/device_number.h"
#include "oci-mount/overlay/file_rules.h"
#include "tests/support/acl_text.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"

namespace layerboot::test {

namespace {

TarMember member(std::string name, char type, std::uint64_t mode) {
  TarMember made;
  made.name = std::move(name);
  made.type = type;
  made.mode = mode;
  return made;
}

void copy_tree(OurSide& ours, const std::string& path, const std::string& top,
               std::map<std::uint64_t, std::string>& first_names) {
  const auto view = ours.view({.path = path});
  ASSERT_TRUE(view) << path;
  const std::string host = top + path;
  if (const auto [first, is_new] = first_names.try_emplace(view->ino, host); !is_new) {
    ASSERT_EQ(::link(first->second.c_str(), host.c_str()), 0) << path;
    return;
  }
  if (S_ISDIR(view->mode)) {
    if (!path.empty()) {
      ASSERT_EQ(::mkdir(host.c_str(), 0700), 0) << path;
    }
    for (const auto& name : ours.names_in(path)) copy_tree(ours, path + "/" + name, top, first_names);
  } else if (S_ISREG(view->mode)) {
    write_text(host, view->content);
  } else if (S_ISLNK(view->mode)) {
    ASSERT_EQ(::symlink(view->content.c_str(), host.c_str()), 0) << path;
  } else {
    ASSERT_EQ(::mknod(host.c_str(), view->mode, decode_dev(view->rdev)), 0) << path;
  }
  ASSERT_EQ(::lchown(host.c_str(), view->uid, view->gid), 0);
  for (const auto& [name, value] : view->xattrs)
    ASSERT_EQ(::lsetxattr(host.c_str(), name.c_str(), value.data(), value.size(), 0), 0) << path << name;
  if (!S_ISLNK(view->mode)) {
    ASSERT_EQ(::chmod(host.c_str(), view->mode & 07777U), 0);
  }
  const std::array<timespec, 2> times{overlay::timespec_of(view->atime), overlay::timespec_of(view->mtime)};
  ASSERT_EQ(::utimensat(AT_FDCWD, host.c_str(), times.data(), AT_SYMLINK_NOFOLLOW), 0);
}

}  // namespace

std::vector<std::string> image_of_all_kinds() {
  TarBuilder one;
  one.directory("a").directory("a/b").directory("b", 02775).directory("c", 01777).directory("c/a");
  one.file("f1", "of the image").file("a/f1", sample_bytes(40'000, 5), 0640).file("a/b/f2", "x", 0600);
  one.file("suid", "set-id", 06755).file("a/sgid", "mark", 02644).file("c/f1", sample_bytes(9'000, 9));
  one.hard_link("a/b/hard", "f1")
      .hard_link("c/hard", "f1")
      .symlink("a/link", "b/f2")
      .symlink("c/link", "../f1");
  for (const auto& [name, type] : {std::pair{"fifo", '6'}, {"a/chr", '3'}, {"c/blk", '4'}}) {
    TarMember device = member(name, type, 04711);
    if (type != '6') device.device_major = 7;
    if (type != '6') device.device_minor = 300;
    one.add(device);
  }
  TarMember owned = member("a/b/owned", '0', 04755);
  owned.uid = 1000;
  owned.gid = 1001;
  owned.content = "somebody's";
  owned.pax = {{"SCHILY.xattr.user.one", "1"}, {"SCHILY.xattr.trusted.two", std::string(200, '2')}};
  one.add(owned);
  TarMember handing = member("a/acl", '5', 0774);
  handing.pax = {{"SCHILY.xattr.system.posix_acl_default", acl_with_user(1000, 7, 5)},
                 {"SCHILY.xattr.system.posix_acl_access", acl_with_user(1001, 5, 7)}};
  one.add(handing).file("a/acl/inside", "inherits nothing");
  one.file("c/" + std::string(255, 'l'), "long");
  return {one.finish(), TarBuilder().file("b/f1", "second layer").whiteout("c/f1").directory("b/c").finish()};
}

void copy_tree(OurSide& ours, const std::string& top) {
  std::map<std::uint64_t, std::string> first_names;
  copy_tree(ours, "", top, first_names);
}

}  // namespace layerboot::test
