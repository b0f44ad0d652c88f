// A shared directory's client at the memory limit: what there is no room for is refused before anything is
// changed on the host, and what takes no more than it did goes on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>

#include <filesystem>
#include <string>
#include <utility>

#include "tests/oci-mount/vfs/share_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

template <typename T>
int code_of(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

class ShareMemoryTest : public ShareFsTest {
 protected:
  void TearDown() override { make_room(); }
  void leave_no_room() {
    for (std::uint64_t piece = std::uint64_t{64} << 20; piece != 0; piece /= 2) {
      while (memory_.try_take(piece)) filled_bytes_ += piece;
    }
  }
  void make_room() { memory_.give_back(std::exchange(filled_bytes_, 0)); }
  int link(vfs::NodeId node, const std::string& name) {
    return code_of(drive().reactor->block_on(share_->link(*drive().reactor, node, vfs::kRootId, name)));
  }
  static std::string long_name(char of) { return std::string(200, of); }

 private:
  std::uint64_t filled_bytes_ = 0;
};

TEST_F(ShareMemoryTest, WhatThereIsNoRoomForIsNotMade) {
  put(host("theirs"), "x");
  const auto theirs = drive().acquire("theirs");
  const auto expect = [&](int code) {
    const std::uint64_t used_bytes = memory_.used_bytes();
    EXPECT_EQ(code_of(share_->create(vfs::kRootId, "created", 0644, true, {})), code);
    EXPECT_EQ(code_of(share_->create(vfs::kRootId, "created-or-not", 0644, false, {})), code);
    EXPECT_EQ(code_of(share_->mknod(vfs::kRootId, "file", S_IFREG | 0644, 0, {})), code);
    EXPECT_EQ(code_of(share_->mknod(vfs::kRootId, "pipe", S_IFIFO | 0644, 0, {})), code);
    EXPECT_EQ(code_of(share_->mkdir(vfs::kRootId, "directory", 0755, {})), code);
    EXPECT_EQ(code_of(share_->symlink(vfs::kRootId, "symlink", "target", {})), code);
    EXPECT_EQ(code_of(share_->tmpfile(vfs::kRootId, 0644, {})), code);
    EXPECT_EQ(link(theirs, long_name('l')), code);
    if (code != 0) {
      EXPECT_EQ(memory_.used_bytes(), used_bytes);
    }
  };
  leave_no_room();
  expect(ENOMEM);
  EXPECT_EQ(std::distance(fs::directory_iterator(host()), {}), 1) << "theirs alone";
  // What is there is there.
  EXPECT_EQ(code_of(share_->mkdir(vfs::kRootId, "theirs", 0755, {})), EEXIST);
  EXPECT_EQ(code_of(share_->create(vfs::kRootId, "theirs", 0644, true, {})), EEXIST);
  EXPECT_EQ(share_->create(vfs::kRootId, "theirs", 0644, false, {}).value_or(vfs::Entry{}).id, theirs);
  EXPECT_EQ(link(theirs, "no-longer"), 0) << "another name, that takes nothing";
  make_room();
  expect(0);
}

TEST_F(ShareMemoryTest, ANameGrowsAsFarAsThereIsRoom) {
  for (const char* name : {"a", "b", "c"}) ASSERT_EQ(drive().create(name, name), 0);
  put(host(long_name('k')), "known");
  put(host(long_name('u')), "unknown");
  const auto a = drive().acquire("a");
  const auto b = drive().acquire("b");
  const auto known = drive().acquire(long_name('k'));
  leave_no_room();
  const std::uint64_t used_bytes = memory_.used_bytes();
  EXPECT_EQ(drive().rename("a", long_name('n')), ENOMEM);
  EXPECT_EQ(drive().rename("a", long_name('u')), ENOMEM) << "in the place of one that the client has not";
  EXPECT_EQ(drive().rename("a", long_name('u'), RENAME_EXCHANGE), ENOMEM);
  EXPECT_EQ(get(host("a")), "a");
  EXPECT_EQ(get(host(long_name('u'))), "unknown");
  EXPECT_FALSE(fs::exists(host(long_name('n'))));
  EXPECT_EQ(memory_.used_bytes(), used_bytes);

  EXPECT_EQ(drive().rename("a", "another"), 0) << "no longer than it was, by what it takes";
  EXPECT_EQ(drive().rename("another", long_name('k'), RENAME_EXCHANGE), 0) << "each the other's";
  EXPECT_EQ(memory_.used_bytes(), used_bytes);
  EXPECT_EQ(get(host(long_name('k'))), "a");
  EXPECT_EQ(drive().rename("b", long_name('k')), 0) << "in the place of one that the client has";
  EXPECT_EQ(memory_.used_bytes(), used_bytes);
  EXPECT_EQ(get(host(long_name('k'))), "b");
  EXPECT_EQ(drive().rename(long_name('k'), "b"), 0);
  EXPECT_LT(memory_.used_bytes(), used_bytes) << "a name that is gone takes nothing";
  EXPECT_EQ(drive().rename("b", long_name('n')), 0) << "there is room again";
  EXPECT_EQ(drive().read_node(a), "a");
  EXPECT_EQ(drive().read_node(b), "b");
  EXPECT_EQ(drive().read_node(known), "known");
  for (const auto node : {a, b, known}) drive().release(node);
}

// The host's names may be longer as well, of an object that is known by a short one.
TEST_F(ShareMemoryTest, ALongerNameThatIsSeenTakesRoomToo) {
  ASSERT_EQ(drive().create("a", "text"), 0);
  const auto a = drive().acquire("a");
  fs::create_hard_link(host("a"), host(long_name('h')));
  leave_no_room();
  const std::uint64_t used_bytes = memory_.used_bytes();
  EXPECT_EQ(code_of(share_->lookup(vfs::kRootId, long_name('h'))), ENOMEM);
  EXPECT_EQ(memory_.used_bytes(), used_bytes);
  EXPECT_EQ(drive().read("a"), "text");
  make_room();
  EXPECT_EQ(drive().read(long_name('h')), "text");
  drive().release(a);
}

}  // namespace
}  // namespace layerboot::test
