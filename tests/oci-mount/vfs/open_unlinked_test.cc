// Objects without a name that the client still holds; and objects that never had one.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

using OpenUnlinkedTest = WritableFsTest;

TEST_F(OpenUnlinkedTest, LiveUntilForgottenThenTheSpaceComesBack) {
  EXPECT_EQ(drive().create("etc/born", "born in the upper"), 0);
  for (const char* path : {"etc/born", "etc/small", "etc/big"}) {
    const auto node = drive().acquire(path);
    EXPECT_EQ(drive().unlink(path), 0);
    EXPECT_EQ(drive().acquire(path), 0U);
    EXPECT_EQ(fs->getattr(node)->nlink, 0U) << path;
    const std::string megabyte = sample_bytes(1 << 20, 5);
    EXPECT_EQ(write_node(node, 10, megabyte), 0) << path;
    EXPECT_TRUE(drive().read_node(node).substr(10, megabyte.size()) == megabyte) << path;
    EXPECT_EQ(fs->getattr(node)->nlink, 0U) << path;
    EXPECT_GE(booked().bytes, megabyte.size());
    expect_usage_agrees();
    drive().release(node);
    EXPECT_LT(booked().bytes, megabyte.size()) << path;
    expect_usage_agrees();
  }
}

TEST_F(OpenUnlinkedTest, AFileTakenOverByARenameLivesOn) {
  EXPECT_EQ(drive().create("new", "new"), 0);
  EXPECT_EQ(drive().create("old", "old"), 0);
  const auto born = drive().acquire("old");
  const auto lower = drive().acquire("etc/small");
  EXPECT_EQ(drive().rename("new", "old"), 0);
  EXPECT_EQ(drive().rename("old", "etc/small"), 0);
  EXPECT_EQ(drive().read("etc/small"), "new");
  EXPECT_EQ(drive().read_node(born), "old");
  EXPECT_EQ(drive().read_node(lower), lower_small());
  EXPECT_EQ(write_node(born, 0, "OLD"), 0);
  EXPECT_EQ(write_node(lower, 0, "THE"), 0);
  EXPECT_EQ(drive().read_node(born), "OLD");
  EXPECT_EQ(drive().read("etc/small"), "new");
  EXPECT_EQ(fs->getattr(born)->nlink, 0U);
  EXPECT_EQ(fs->getattr(lower)->nlink, 0U);
  EXPECT_NE(drive().attr("etc/small").ino, lower);
  drive().release(born);
  drive().release(lower);
  EXPECT_TRUE(std::filesystem::is_empty(directory / "vm/work") || booked() == host_usage(directory / "vm"));
}

// The name that kept it in the work directory has to go when another moves: nothing else would count it.
TEST_F(OpenUnlinkedTest, OneNameOfTwoGoneAndTheOtherMoved) {
  EXPECT_EQ(drive().create("one", "shared"), 0);
  EXPECT_EQ(drive().symlink("link", "target"), 0);
  EXPECT_EQ(drive().create("else", "x"), 0);
  for (const std::string path : {"one", "link"}) {
    for (const std::uint32_t flags : {0U, static_cast<std::uint32_t>(RENAME_EXCHANGE)}) {
      EXPECT_EQ(drive().link(path, "two"), 0);
      const auto node = drive().acquire(path);
      EXPECT_EQ(drive().unlink(path), 0);
      EXPECT_EQ(drive().rename("two", flags == 0 ? path : "else", flags), 0);
      if (flags != 0) {
        EXPECT_EQ(drive().rename("else", path), 0);
        EXPECT_EQ(drive().rename("two", "else"), 0);
      }
      EXPECT_EQ(drive().attr(path).nlink, 1U) << path;
      drive().release(node);
      EXPECT_EQ(drive().attr(path).nlink, 1U) << path;
      EXPECT_TRUE(std::filesystem::is_empty(directory / "vm/work")) << path;
    }
  }
  EXPECT_EQ(drive().unlink("one"), 0);
  expect_usage_agrees();
}

TEST_F(OpenUnlinkedTest, OneNameOfTwoGone) {
  EXPECT_EQ(drive().create("one", "shared"), 0);
  EXPECT_EQ(drive().link("one", "two"), 0);
  const auto node = drive().acquire("one");
  EXPECT_EQ(drive().unlink("one"), 0);
  EXPECT_EQ(drive().attr("two").nlink, 1U);
  EXPECT_EQ(drive().acquire("two"), node);
  EXPECT_EQ(drive().unlink("two"), 0);
  EXPECT_EQ(fs->getattr(node)->nlink, 0U);
  EXPECT_EQ(drive().read_node(node), "shared");
  fs->forget(node, 2);
  EXPECT_EQ(booked(), nothing());
}

TEST_F(OpenUnlinkedTest, ATmpfileIsLinkedOrGone) {
  const auto made = fs->tmpfile(drive().acquire("etc"), 0640, {.uid = 7, .gid = 8});
  ASSERT_TRUE(made);
  EXPECT_EQ(made->attr.nlink, 0U);
  EXPECT_EQ(made->attr.uid, 7U);
  EXPECT_EQ(write_node(made->id, 0, "from nowhere"), 0);
  expect_usage_agrees();
  EXPECT_TRUE(upper_is_empty());
  EXPECT_TRUE(wait(fs->link(*drive().reactor, made->id, vfs::kRootId, "named")));
  EXPECT_EQ(drive().read("named"), "from nowhere");
  EXPECT_EQ(drive().attr("named").nlink, 1U);
  const auto lost = fs->tmpfile(vfs::kRootId, 0640, {});
  ASSERT_TRUE(lost);
  EXPECT_EQ(write_node(lost->id, 0, "to nowhere"), 0);
  drive().release(lost->id);
  EXPECT_EQ(fs->getattr(lost->id).error().code, ESTALE);
}

TEST_F(OpenUnlinkedTest, ATmpfileTakesTheNameOfARemovedOne) {
  EXPECT_EQ(drive().unlink("etc/small"), 0);
  const auto made = fs->tmpfile(vfs::kRootId, 0640, {});
  ASSERT_TRUE(made);
  EXPECT_TRUE(wait(fs->link(*drive().reactor, made->id, drive().acquire("etc"), "small")));
  EXPECT_EQ(drive().attr("etc/small").ino, made->attr.ino);
}

TEST_F(OpenUnlinkedTest, ASessionsEndFreesWhatOnlyTheClientHeld) {
  EXPECT_EQ(drive().create("file", "x"), 0);
  drive().acquire("file");
  EXPECT_EQ(drive().unlink("file"), 0);
  ASSERT_TRUE(fs->tmpfile(vfs::kRootId, 0600, {}));
  fs->reset();
  expect_usage_agrees();
  EXPECT_EQ(booked(), nothing());
  ASSERT_TRUE(fs->tmpfile(vfs::kRootId, 0600, {}));
  restart();
  EXPECT_EQ(booked(), nothing());
}

// The host gives a removed directory's inode number to the next object while the client still holds the old
// one, as a process does whose working directory is removed.
TEST_F(OpenUnlinkedTest, ARemovedDirectorysNumberIsNotGivenAgain) {
  EXPECT_EQ(drive().mkdir("gone"), 0);
  const auto gone = drive().acquire("gone");
  EXPECT_EQ(drive().rmdir("gone"), 0);
  std::set<vfs::NodeId> seen{gone};
  for (int i = 0; i < 20; ++i) {
    const std::string name = "next" + std::to_string(i);
    const auto made =
        i % 2 == 0 ? fs->mkdir(vfs::kRootId, name, 0755, {}) : fs->create(vfs::kRootId, name, 0644, true, {});
    ASSERT_TRUE(made);
    EXPECT_TRUE(seen.insert(made->id).second) << name;
    EXPECT_EQ(drive().acquire(name), made->id);
  }
  EXPECT_EQ(fs->getattr(gone)->nlink, 0U);
  EXPECT_EQ(code_of(fs->lookup(gone, "x")), ENOENT);
  EXPECT_EQ(code_of(fs->mkdir(gone, "x", 0755, {})), ENOENT);
  drive().release(gone);
  EXPECT_EQ(fs->getattr(gone).error().code, ESTALE);
  EXPECT_EQ(drive().create("next0/file", "x"), 0);
}

}  // namespace
}  // namespace layerboot::test
