// The same random operations on an image's tree, through ours and on ext4: after each the same errno, and the
// same to see of what it was about; now and then the same tree.
//
// 8 sequences of steps, half of them with a client that forgets everything after each operation, half with
// one that keeps names and objects, also removed ones. LAYERBOOT_TEST_STEPS=20000 makes them as long as they
// are meant to be (two to four minutes); the usual length fits between other tests. LAYERBOOT_TEST_SEED for
// the first.
//
// Not compared, because it differs and may (overlay/DESIGN.md, "What ext4 does that a root served by this
// does not", says why where there is anything to say):
//   sizes and link counts of directories, blocks, inode numbers, times of change (ctime);
//   what is found and made in a directory that was removed while somebody has it open (its attributes are);
//   where exactly holes are: what lseek(2) tells must be true, no more;
//   the owner and ACL of what RENAME_WHITEOUT leaves, and S_ISGID without S_IXGRP after a chown by who is not
//   root (both are kept out of what is compared, in differential_host.cc and differential_inventor.cc).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "oci-mount/base/device_number.h"
#include "oci-mount/overlay/file_rules.h"
#include "tests/oci-mount/vfs/differential.h"
#include "tests/oci-mount/vfs/differential_inventor.h"
#include "tests/oci-mount/vfs/host_disk.h"
#include "tests/oci-mount/vfs/image_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kSequences = 8;
constexpr std::int64_t kUsualSteps = 5'000;
constexpr int kTreeEvery = 500;  // steps; then the whole tree is compared, and mostly all is opened anew

TarMember member(std::string name, char type, std::uint64_t mode) {
  TarMember made;
  made.name = std::move(name);
  made.type = type;
  made.mode = mode;
  return made;
}

/// Every kind of object that a tar can carry; sockets are made by the operations.
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

/// What ours shows at first, on the host; names of one file by the number that they share.
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

std::int64_t number_or(const char* variable, std::int64_t usual) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoll(text, nullptr, 10) : usual;
}

class Ext4DifferentialTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    if (!disk_.mounted()) GTEST_SKIP() << disk_.why_not();
    // Access times are not kept here.
    ASSERT_EQ(::mount(nullptr, disk_.path().c_str(), nullptr, MS_REMOUNT | MS_NOATIME, nullptr), 0);
    image_.upper = disk_.path() / "vm";
    std::filesystem::create_directory(tree());
  }
  std::string tree() const { return (disk_.path() / "tree").string(); }

  void open(OurSide::Client client) {
    ours_.reset();
    // Half the time it ends in order.
    if (image_.fs && ++opened_ % 2 == 0) {
      ASSERT_TRUE(image_.fs->stop());
    }
    image_.open_writable();
    ours_ = std::make_unique<OurSide>(*image_.fs, client);
  }
  void compare(const Spot& spot, const std::string& what) {
    EXPECT_EQ(ours_->look(spot), host_->look(spot))
        << (spot.slot == Spot::kNone ? spot.path : "held " + std::to_string(spot.slot)) << ", after " << what;
  }
  static std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
  void step(const Operation& op);
  void compare_trees(Inventor& inventor, const std::string& what);

  HostDisk disk_{"ext4"};
  ImageFixture image_{image_of_all_kinds()};
  std::unique_ptr<OurSide> ours_;
  std::unique_ptr<HostSide> host_;
  int opened_ = 0;
};

void Ext4DifferentialTest::step(const Operation& op) {
  const std::string what = op.describe();
  const Answer mine = ours_->run(op);
  const Answer theirs = host_->run(op);
  EXPECT_EQ(mine.code, theirs.code) << what;
  EXPECT_EQ(mine.told, theirs.told) << what;
  for (const Spot* spot : {&op.object, &op.other}) {
    if (spot->slot == Spot::kNone && spot->path.empty()) continue;
    compare(*spot, what);
    if (spot->slot == Spot::kNone) compare({.path = parent_of(spot->path)}, what);
  }
}

void Ext4DifferentialTest::compare_trees(Inventor& inventor, const std::string& what) {
  for (const auto& path : inventor.paths()) {
    compare({.path = path}, what + ", in the whole tree");
    EXPECT_EQ(ours_->names_in(path), host_->names_in(path)) << path << what;
  }
}

TEST_P(Ext4DifferentialTest, RandomOperationsShowWhatTheyShowOnADisk) {
  const auto first = static_cast<std::uint64_t>(number_or("LAYERBOOT_TEST_SEED", 40'000));
  const std::uint64_t seed = first + GetParam();
  SCOPED_TRACE("LAYERBOOT_TEST_SEED=" + std::to_string(seed));
  const auto client = GetParam() % 2 == 0 ? OurSide::Client::kCold : OurSide::Client::kWarm;
  image_.record_owners = GetParam() % 4 >= 2;
  open(client);
  std::map<std::uint64_t, std::string> first_names;
  copy_tree(*ours_, "", tree(), first_names);
  host_ = std::make_unique<HostSide>(tree());
  Inventor inventor(*host_, seed, client);
  compare_trees(inventor, "nothing");
  const std::int64_t steps = number_or("LAYERBOOT_TEST_STEPS", kUsualSteps);
  for (std::int64_t done = 0; done < steps && !HasFailure();) {
    const auto op = inventor.invent();
    if (!op) continue;
    SCOPED_TRACE("step " + std::to_string(done));
    step(*op);
    if (++done % kTreeEvery != 0) continue;
    compare_trees(inventor, op->describe());
    if (HasFailure()) break;
    host_->drop_slots();
    inventor.lose_slots();
    open(client);
    compare_trees(inventor, "a restart");
  }
}

INSTANTIATE_TEST_SUITE_P(Sequences, Ext4DifferentialTest, testing::Range<std::uint64_t>(0, kSequences));

}  // namespace
}  // namespace layerboot::test
