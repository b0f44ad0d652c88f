// A reset of the session (INIT), which a guest may ask for at any time and as often as it likes.
#include <fcntl.h>

#include <fstream>
#include <iostream>

#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/tariff.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

class ResetTest : public WritableFsTest {
 protected:
  /// What only a walk over the upper would find.
  void add_behind_its_back() { std::ofstream(hidden()) << std::string(1 << 20, 'x'); }
  void TearDown() override {
    std::filesystem::remove(hidden());
    restart();
    WritableFsTest::TearDown();
  }
  /// A request for so many bytes of a file that ends after a reset, when nobody knows the file any more.
  void grow_over_a_reset(vfs::NodeId file, std::uint64_t bytes) {
    bool ended = false;
    start(fs->fallocate(*drive().reactor, file, 0, 0, bytes), [&](const Result<void>& allocated) {
      EXPECT_TRUE(allocated);
      ended = true;
      drive().reactor->stop();
    });
    ASSERT_FALSE(ended) << "it waits for the host";
    fs->reset();
    drive().reactor->run();
    ASSERT_TRUE(ended);
  }
  [[nodiscard]] std::filesystem::path hidden() const { return directory / "vm/upper/behind"; }
};

TEST_F(ResetTest, WalksNothingWhereAllIsKnown) {
  ASSERT_EQ(drive().mkdir("born"), 0);
  ASSERT_EQ(drive().rename("deep/er", "born/moved"), 0);
  ASSERT_EQ(drive().unlink("links/a"), 0);
  ASSERT_EQ(drive().create("born/empty", ""), 0);
  fs->reset();
  const auto before = booked();
  add_behind_its_back();
  for (int i = 0; i < 3; ++i) {
    fs->reset();
    EXPECT_EQ(booked().bytes, before.bytes);
    EXPECT_EQ(booked().inodes, before.inodes);
  }
  EXPECT_EQ(drive().read("born/moved/est/file"), "far down") << "what was moved is found";
  EXPECT_EQ(drive().attr("links2/c").nlink, 2U) << "and names that were removed are missed";
}

// The host allocates what was written when it likes: only a look at the file tells.
TEST_F(ResetTest, CountsWhereFilesMayStillGrow) {
  if (tariff().late_growth(100'000) == 0) GTEST_SKIP() << "this host takes no more than is booked at once";
  ASSERT_EQ(drive().create("written", std::string(100'000, 'w')), 0);
  const auto before = booked();
  add_behind_its_back();
  fs->reset();
  EXPECT_EQ(booked().inodes, before.inodes + 1);
}

// Of small files it is known: a guest that writes those has no walk for each INIT.
TEST_F(ResetTest, WalksNothingForFilesThatTheInodeHasRoomFor) {
  if (tariff().changes_late(4096)) GTEST_SKIP() << "all files of this host change late";
  ASSERT_EQ(drive().create("written", "bytes"), 0);
  const auto before = booked();
  add_behind_its_back();
  fs->reset();
  EXPECT_EQ(booked().inodes, before.inodes);
}

// A guest moves as many directories as it likes: the list of them is not made over the memory limit.
TEST_F(ResetTest, WhatThereIsNoMemoryForIsFoundByTheNext) {
  ASSERT_EQ(drive().mkdir("born"), 0);
  ASSERT_EQ(drive().rename("deep/er", "born/moved"), 0);
  ASSERT_EQ(drive().unlink("links/a"), 0);
  fs->reset();
  const std::uint64_t taken = take_all_memory();
  fs->reset();
  EXPECT_LE(source->memory.used_bytes(), source->memory.limit_bytes());
  source->memory.give_back(taken);
  fs->reset();
  EXPECT_EQ(drive().read("born/moved/est/file"), "far down");
  EXPECT_EQ(drive().attr("links2/c").nlink, 2U);
  expect_usage_agrees();
}

// A host gives the number of a file that goes with its session to the next that is made; what was booked for
// the one must not be taken off for the other, where no walk could say that the one is gone.
TEST_F(ResetTest, WhatWasBookedForAFileThatGoesIsNotBookedOffForTheNext) {
  constexpr std::uint64_t kBytes = 4U << 20;
  constexpr int kMostTries = 200;
  // What a walk has no memory for.
  ASSERT_EQ(drive().mkdir("many"), 0);
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(drive().mkdir("many/directory of a long name, number " + std::to_string(i)), 0);
  }
  restart();
  const auto file = fs->create(vfs::kRootId, "file", 0644, true, {});
  const auto other = fs->create(vfs::kRootId, "other", 0644, true, {});
  ASSERT_TRUE(file && other);
  ASSERT_EQ(write_node(file->id, 0, std::string(kBytes, 'x')), 0);
  ASSERT_TRUE(fs->unlink(vfs::kRootId, "file"));
  const std::uint64_t taken = take_all_memory();
  ASSERT_NO_FATAL_FAILURE(grow_over_a_reset(other->id, kBytes));
  source->memory.give_back(taken);
  const auto before = booked().bytes;
  std::uint64_t ino = 0;
  for (int i = 0; i < kMostTries && ino != file->attr.ino; ++i) {
    const auto made = fs->create(vfs::kRootId, "next" + std::to_string(i), 0644, true, {});
    ASSERT_TRUE(made);
    ino = made->attr.ino;
    fs->forget(made->id, 1);
    ASSERT_TRUE(fs->lookup(vfs::kRootId, "next" + std::to_string(i)));
  }
  if (ino != file->attr.ino) std::cout << "the host has not given the number again\n";
  EXPECT_GE(booked().bytes, before);
  fs->reset();
  expect_usage_agrees();
}

/// By then the file's number is another session's.
TEST_F(ResetTest, ATruncationThatWaitsCutsNothingOfTheNextSession) {
  const auto victim = fs->create(vfs::kRootId, "victim", 0644, true, {});
  ASSERT_TRUE(victim);
  // As on a slow disk, files wait to be written out, and a change waits for them.
  const auto go = std::make_shared<std::atomic<bool>>(false);  // the last of them may come after the test
  for (unsigned i = 0; i < 8; ++i) {
    source->workers.submit([go] {
      while (!*go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  const std::string bytes(20'000, 'x');
  const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  constexpr int kMost = 3000;
  for (int i = 0; i < kMost; ++i) {
    const auto file = fs->create(vfs::kRootId, "f" + std::to_string(i), 0644, true, {});
    ASSERT_TRUE(file);
    const auto put = fs->try_write(file->id, 0, {&piece, 1}, vfs::Writer::kPrivileged);
    ASSERT_TRUE(put);
    if (*put == vfs::FileSystem::kWouldWait) break;
  }
  vfs::AttrChange cut;
  cut.size_bytes = 0;
  bool ended = false;
  int code = 0;
  start(fs->setattr(*drive().reactor, victim->id, cut), [&](const Result<vfs::Attr>& done) {
    code = done ? 0 : done.error().code;
    ended = true;
    drive().reactor->stop();
  });
  const bool waited = !ended;
  fs->reset();
  *go = true;
  const auto again = fs->lookup(vfs::kRootId, "victim");
  ASSERT_TRUE(again);
  FsDriver other(*fs);
  const iovec more{const_cast<char*>(bytes.data()), bytes.size()};
  EXPECT_TRUE(
      other.reactor->block_on(fs->write(*other.reactor, again->id, 0, {&more, 1}, vfs::Writer::kPrivileged)));
  if (waited) drive().reactor->run();
  if (!waited) std::cout << "this host allocates all at once: nobody waits\n";
  EXPECT_EQ(code, waited ? ENOENT : 0);
  EXPECT_EQ(std::filesystem::file_size(upper("victim")), bytes.size());
}

// Nobody waits for a stop as for a start, and the host still has in memory what has to be read.
TEST_F(ResetTest, AStopCountsWhatIsInDoubt) {
  constexpr std::uint64_t kBytes = 1U << 20;
  const auto file = fs->create(vfs::kRootId, "file", 0644, true, {});
  ASSERT_TRUE(file);
  ASSERT_NO_FATAL_FAILURE(grow_over_a_reset(file->id, kBytes));
  expect_same_after_a_stop();
}

// Each must be booked by the reset after the next at the latest: else a guest grows files off the books.
TEST_F(ResetTest, WhatEndsAfterItIsNotLostToTheBudget) {
  constexpr std::uint64_t kBytes = 8U << 20;
  const auto file = fs->create(vfs::kRootId, "file", 0644, true, {});
  ASSERT_TRUE(file);
  fs->reset();
  const auto found = fs->lookup(vfs::kRootId, "file");
  ASSERT_TRUE(found);
  const auto before = booked().bytes;
  ASSERT_NO_FATAL_FAILURE(grow_over_a_reset(found->id, kBytes));
  EXPECT_GE(booked().bytes, before + kBytes);
  ASSERT_TRUE(fs->lookup(vfs::kRootId, "file"));
  ASSERT_EQ(fs->unlink(vfs::kRootId, "file").has_value(), true);
  fs->reset();
  expect_usage_agrees();
}

}  // namespace
}  // namespace layerboot::test
