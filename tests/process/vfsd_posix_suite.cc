#include "tests/process/vfsd_posix_suite.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/support/image_builder.h"

namespace layerboot::test {

namespace {

using Names = std::set<std::string>;

std::string content(Door& door, const std::string& path) {
  std::string bytes;
  EXPECT_EQ(door.read(path, 0, 8 << 20, bytes), 0) << path;
  return bytes;
}

Names names(Door& door, const std::string& path) {
  Names found;
  EXPECT_EQ(door.list(path, found), 0) << path;
  return found;
}

Door::Stat status(Door& door, const std::string& path) {
  Door::Stat stat;
  EXPECT_EQ(door.stat(path, stat), 0) << path;
  return stat;
}

bool exists(Door& door, const std::string& path) {
  Door::Stat stat;
  return door.stat(path, stat) == 0;
}

void reads_the_tree(Door& door) {
  EXPECT_EQ(names(door, ""), (Names{"big", "dir", "etc"}));
  EXPECT_EQ(names(door, "etc"), (Names{"conf", "gone", "hostname"}));
  EXPECT_EQ(content(door, "etc/hostname"), "lower\n");
  EXPECT_TRUE(content(door, "big") == big_content());
  std::string part;
  EXPECT_EQ(door.read("big", 1'234'567, 70'001, part), 0);
  EXPECT_TRUE(part == big_content().substr(1'234'567, 70'001));
  std::string target;
  EXPECT_EQ(door.readlink("etc/conf", target), 0);
  EXPECT_EQ(target, "hostname");
  EXPECT_EQ(door.readlink("etc/hostname", target), EINVAL);
  Door::Stat stat;
  EXPECT_EQ(door.stat("none", stat), ENOENT);
  EXPECT_EQ(door.stat("etc/hostname/below", stat), ENOTDIR);
  EXPECT_TRUE(S_ISLNK(status(door, "etc/conf").mode));
}

void creates_and_writes(Door& door) {
  EXPECT_EQ(door.create("new", 0640, true), 0);
  EXPECT_EQ(door.create("new", 0640, true), EEXIST);
  EXPECT_EQ(status(door, "new").mode, S_IFREG | 0640U);
  const std::string data = sample_bytes(2'500'000, 3);
  EXPECT_EQ(door.write("new", 0, data), 0);
  EXPECT_TRUE(content(door, "new") == data);
  EXPECT_EQ(door.write("new", 3'000'000, "far"), 0);
  EXPECT_EQ(status(door, "new").size_bytes, 3'000'003U);
  std::string hole;
  EXPECT_EQ(door.read("new", 2'999'990, 13, hole), 0);
  EXPECT_EQ(hole, std::string(10, '\0') + "far");
  EXPECT_EQ(door.fsync("new"), 0);
  EXPECT_EQ(door.create("none/new", 0644, true), ENOENT);
}

void changes_what_is_below(Door& door) {
  const auto before = status(door, "big");
  EXPECT_EQ(door.write("big", 100, "changed"), 0);
  auto expected = big_content();
  expected.replace(100, 7, "changed");
  EXPECT_TRUE(content(door, "big") == expected);
  EXPECT_EQ(status(door, "big").ino, before.ino) << "copy-up must not show";
  EXPECT_EQ(status(door, "big").mode, before.mode);
  EXPECT_EQ(door.write("etc/hostname", 6, "appended\n"), 0);
  EXPECT_EQ(content(door, "etc/hostname"), "lower\nappended\n");
}

void truncates(Door& door) {
  EXPECT_EQ(door.truncate("big", 10), 0);
  EXPECT_EQ(content(door, "big"), big_content().substr(0, 10));
  EXPECT_EQ(door.truncate("big", 5000), 0);
  EXPECT_EQ(content(door, "big"), big_content().substr(0, 10) + std::string(4990, '\0'));
  EXPECT_NE(door.truncate("etc", 0), 0);
  EXPECT_EQ(door.fallocate("big", 0, 100'000), 0);
  EXPECT_EQ(status(door, "big").size_bytes, 100'000U);
}

void changes_attributes(Door& door) {
  EXPECT_EQ(door.chmod("etc/hostname", 0600), 0);
  EXPECT_EQ(status(door, "etc/hostname").mode, S_IFREG | 0600U);
  EXPECT_EQ(content(door, "etc/hostname"), "lower\n") << "only its attributes went up";
  EXPECT_EQ(door.set_mtime("dir", 86'400), 0);
  EXPECT_EQ(status(door, "dir").mtime, 86'400);
  EXPECT_EQ(door.chmod("dir", 01777), 0);
  EXPECT_EQ(status(door, "dir").mode, S_IFDIR | 01777U);
  EXPECT_EQ(names(door, "dir"), (Names{"a", "b", "c"}));
}

void removes(Door& door) {
  EXPECT_EQ(door.unlink("etc/gone"), 0);
  EXPECT_FALSE(exists(door, "etc/gone"));
  EXPECT_EQ(door.unlink("etc/gone"), ENOENT);
  EXPECT_EQ(names(door, "etc"), (Names{"conf", "hostname"}));
  EXPECT_EQ(door.rmdir("dir"), ENOTEMPTY);
  EXPECT_EQ(door.unlink("dir"), EISDIR);
  EXPECT_EQ(door.rmdir("big"), ENOTDIR);
  for (const auto* name : {"dir/a", "dir/b", "dir/c"}) EXPECT_EQ(door.unlink(name), 0);
  EXPECT_EQ(door.rmdir("dir"), 0);
  EXPECT_EQ(names(door, ""), (Names{"big", "etc"}));
  EXPECT_EQ(door.mkdir("dir", 0755), 0);
  EXPECT_EQ(names(door, "dir"), Names{}) << "what was below must not come back";
  EXPECT_EQ(door.create("etc/gone", 0644, true), 0);
  EXPECT_EQ(content(door, "etc/gone"), "");
}

void renames(Door& door) {
  EXPECT_EQ(door.rename("etc/hostname", "moved", 0), 0);
  EXPECT_EQ(content(door, "moved"), "lower\n");
  EXPECT_FALSE(exists(door, "etc/hostname"));
  EXPECT_EQ(door.rename("dir", "etc/dir", 0), 0) << "a directory of the image, never EXDEV";
  EXPECT_EQ(names(door, "etc/dir"), (Names{"a", "b", "c"}));
  EXPECT_EQ(content(door, "etc/dir/b"), "b");
  EXPECT_EQ(door.rename("etc/dir/a", "etc/dir/b", 0), 0);
  EXPECT_EQ(content(door, "etc/dir/b"), "a");
  EXPECT_EQ(names(door, "etc/dir"), (Names{"b", "c"}));
  EXPECT_EQ(door.rename("none", "x", 0), ENOENT);
  EXPECT_EQ(door.rename("moved", "big", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(door.rename("moved", "big", RENAME_EXCHANGE), 0);
  EXPECT_EQ(content(door, "big"), "lower\n");
  EXPECT_TRUE(content(door, "moved") == big_content());
  EXPECT_EQ(door.rename("etc", "etc/dir/below", 0), EINVAL);
  EXPECT_EQ(door.rename("big", "etc", 0), EISDIR);
}

void links(Door& door) {
  EXPECT_EQ(door.link("etc/hostname", "hard"), 0);
  EXPECT_EQ(status(door, "hard").nlink, 2U);
  EXPECT_EQ(status(door, "hard").ino, status(door, "etc/hostname").ino);
  EXPECT_EQ(door.write("hard", 0, "LOWER"), 0);
  EXPECT_EQ(content(door, "etc/hostname"), "LOWER\n");
  EXPECT_EQ(door.unlink("etc/hostname"), 0);
  EXPECT_EQ(status(door, "hard").nlink, 1U);
  EXPECT_EQ(content(door, "hard"), "LOWER\n");
  EXPECT_EQ(door.link("hard", "etc/gone"), EEXIST);
  EXPECT_EQ(door.link("etc", "etc2"), EPERM);
}

void makes_other_kinds(Door& door) {
  EXPECT_EQ(door.symlink("link", "some/target"), 0);
  std::string target;
  EXPECT_EQ(door.readlink("link", target), 0);
  EXPECT_EQ(target, "some/target");
  EXPECT_EQ(status(door, "link").size_bytes, target.size());
  EXPECT_EQ(door.mkfifo("fifo", 0600), 0);
  EXPECT_EQ(status(door, "fifo").mode, S_IFIFO | 0600U);
  EXPECT_EQ(door.mkdir("new", 0700), 0);
  EXPECT_EQ(status(door, "new").mode, S_IFDIR | 0700U);
  EXPECT_EQ(door.mkdir("new", 0700), EEXIST);
}

void keeps_xattrs(Door& door) {
  std::string value;
  EXPECT_EQ(door.getxattr("etc/hostname", "user.colour", value), ENODATA);
  EXPECT_EQ(door.setxattr("etc/hostname", "user.colour", "blue"), 0);
  EXPECT_EQ(door.getxattr("etc/hostname", "user.colour", value), 0);
  EXPECT_EQ(value, "blue");
  EXPECT_EQ(content(door, "etc/hostname"), "lower\n");
  EXPECT_EQ(door.removexattr("etc/hostname", "user.colour"), 0);
  EXPECT_EQ(door.removexattr("etc/hostname", "user.colour"), ENODATA);
}

void lists_many(Door& door) {
  constexpr int kMany = 1000;
  Names expected;
  EXPECT_EQ(door.mkdir("many", 0755), 0);
  for (int i = 0; i < kMany; ++i) {
    const std::string name = "a-rather-long-name-for-a-file-" + std::to_string(i);
    EXPECT_EQ(door.create("many/" + name, 0644, true), 0);
    expected.insert(name);
  }
  EXPECT_TRUE(names(door, "many") == expected);
  for (const auto& name : expected) EXPECT_EQ(door.unlink("many/" + name), 0);
  EXPECT_EQ(names(door, "many"), Names{});
  EXPECT_EQ(door.rmdir("many"), 0);
}

}  // namespace

std::string big_content() {
  static const std::string kContent = sample_bytes(3'000'000, 1);
  return kContent;
}

std::vector<PosixCheck> posix_checks() {
  return {{"ReadsTheTree", reads_the_tree},
          {"CreatesAndWrites", creates_and_writes},
          {"ChangesWhatIsBelow", changes_what_is_below},
          {"Truncates", truncates},
          {"ChangesAttributes", changes_attributes},
          {"Removes", removes},
          {"Renames", renames},
          {"Links", links},
          {"MakesOtherKinds", makes_other_kinds},
          {"KeepsXattrs", keeps_xattrs},
          {"ListsMany", lists_many}};
}

}  // namespace layerboot::test
