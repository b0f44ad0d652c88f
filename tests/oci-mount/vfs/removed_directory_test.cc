// Directories that were removed while the client holds them: their attributes are as on Linux.
#include <sys/stat.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

class RemovedDirectoryTest : public WritableFsTest {
 protected:
  void SetUp() override {
    WritableFsTest::SetUp();
    ASSERT_EQ(drive().mkdir("born"), 0);
    ASSERT_EQ(drive().setattr("deep/er", mode(0711)), 0) << "a copy";
    ASSERT_EQ(drive().rename("deep/er/est", "away"), 0);
    ASSERT_EQ(drive().unlink("links2/c"), 0);
    ASSERT_EQ(drive().unlink("away/file"), 0);
  }
  static vfs::AttrChange mode(std::uint32_t bits) {
    vfs::AttrChange change;
    change.mode = bits;
    return change;
  }
  template <typename T>
  int run(Task<Result<T>> task) {
    const Result<T> done = wait(std::move(task));
    return done ? 0 : done.error().code;
  }
  /// What a program with the directory open may do.
  void change_and_look(vfs::NodeId node) {
    Reactor& reactor = *drive().reactor;
    const auto before = fs->getattr(node);
    ASSERT_TRUE(before);
    EXPECT_EQ(before->nlink, 0U);
    EXPECT_TRUE(fs->listxattr(node));
    EXPECT_EQ(fs->getxattr(node, "user.none").error().code, ENODATA);

    vfs::AttrChange change;
    change.mode = 01700;
    change.uid = 7;
    change.gid = 8;
    change.mtime = vfs::TimeChange{.now = false, .time = {.sec = 1000, .nsec = 5}};
    EXPECT_EQ(run(fs->setattr(reactor, node, change)), 0);
    EXPECT_EQ(run(fs->setxattr(reactor, node, "user.tag", "value", 0)), 0);
    const auto after = fs->getattr(node);
    ASSERT_TRUE(after);
    EXPECT_EQ(after->ino, before->ino);
    EXPECT_EQ(after->mode, static_cast<std::uint32_t>(S_IFDIR | 01700));
    EXPECT_EQ(after->uid, 7U);
    EXPECT_EQ(after->gid, 8U);
    EXPECT_EQ(after->mtime, (vfs::Time{1000, 5}));
    EXPECT_EQ(after->nlink, 0U);
    EXPECT_EQ(fs->getxattr(node, "user.tag").value_or("error"), "value");
    EXPECT_EQ(*fs->listxattr(node), std::string("user.tag\0", 9));
    EXPECT_EQ(run(fs->removexattr(reactor, node, "user.tag")), 0);
    EXPECT_EQ(run(fs->removexattr(reactor, node, "user.tag")), ENODATA);
    EXPECT_EQ(run(fs->fsyncdir(reactor, node, false)), 0);

    EXPECT_EQ(fs->lookup(node, "x").error().code, ENOENT);
    EXPECT_EQ(fs->create(node, "x", 0644, true, {}).error().code, ENOENT);
    EXPECT_EQ(
        fs->readdir(node, 0, false, [](const vfs::Dirent&, const vfs::Entry&) { return true; }).error().code,
        ENOENT);
  }
};

TEST_F(RemovedDirectoryTest, LivesOnUntilItIsForgotten) {
  for (const char* path : {"born", "empty", "deep/er", "away", "links2"}) {
    SCOPED_TRACE(path);
    const auto before = drive().attr(path);
    const auto node = drive().acquire(path);
    ASSERT_NE(node, 0U);
    ASSERT_EQ(drive().rmdir(path), 0);
    EXPECT_EQ(fs->getattr(node)->mode, before.mode);
    EXPECT_EQ(fs->getattr(node)->ino, before.ino);
    change_and_look(node);
    expect_usage_agrees();
    drive().release(node);
    EXPECT_FALSE(fs->getattr(node));
    expect_usage_agrees();
  }
}

TEST_F(RemovedDirectoryTest, AlsoWhereAnotherTookItsName) {
  for (const char* path : {"born", "away", "deep/er"}) {
    SCOPED_TRACE(path);
    ASSERT_EQ(drive().mkdir("new"), 0);
    const auto node = drive().acquire(path);
    ASSERT_EQ(drive().rename("new", path), 0);
    change_and_look(node);
    EXPECT_NE(drive().attr(path).ino, fs->getattr(node)->ino);
    EXPECT_EQ(drive().attr(path).uid, drive().attr("").uid) << "the new one is another";
    drive().release(node);
    expect_usage_agrees();
  }
}

TEST_F(RemovedDirectoryTest, AResetLetsGoOfIt) {
  static_cast<void>(drive().acquire("born"));
  ASSERT_EQ(drive().rmdir("born"), 0);
  fs->reset();
  expect_usage_agrees();
}

// Each costs a descriptor: beyond a bound what it was is still told.
TEST_F(RemovedDirectoryTest, ManyAreNotAllChanged) {
  constexpr int kMany = 400;
  std::vector<vfs::NodeId> held;
  for (int i = 0; i < kMany; ++i) {
    ASSERT_EQ(drive().mkdir("d"), 0);
    held.push_back(drive().acquire("d"));
    ASSERT_EQ(drive().rmdir("d"), 0);
  }
  int changed = 0;
  for (const auto node : held) {
    EXPECT_EQ(fs->getattr(node)->nlink, 0U);
    const int code = run(fs->setattr(*drive().reactor, node, mode(0700)));
    EXPECT_TRUE(code == 0 || code == ENOENT) << code;
    changed += code == 0 ? 1 : 0;
  }
  EXPECT_GT(changed, 0);
  EXPECT_LT(changed, kMany);
  for (const auto node : held) drive().release(node);
}

}  // namespace
}  // namespace layerboot::test
