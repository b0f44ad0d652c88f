// A reset of the session (INIT), which a guest may ask for at any time and as often as it likes.
#include <fstream>

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
  ASSERT_EQ(drive().create("written", "bytes"), 0);
  const auto before = booked();
  add_behind_its_back();
  fs->reset();
  EXPECT_EQ(booked().inodes, before.inodes + 1);
}

// A guest moves as many directories as it likes: the list of them is not made over the memory limit.
TEST_F(ResetTest, WhatThereIsNoMemoryForIsFoundByTheNext) {
  ASSERT_EQ(drive().mkdir("born"), 0);
  ASSERT_EQ(drive().rename("deep/er", "born/moved"), 0);
  ASSERT_EQ(drive().unlink("links/a"), 0);
  fs->reset();
  std::uint64_t taken = 0;
  constexpr std::uint64_t kLeast = 64;
  for (std::uint64_t piece = 1U << 20; piece >= kLeast; piece /= 2) {
    while (source->memory.try_take(piece)) taken += piece;
  }
  fs->reset();
  EXPECT_LE(source->memory.used_bytes(), source->memory.limit_bytes());
  source->memory.give_back(taken);
  fs->reset();
  EXPECT_EQ(drive().read("born/moved/est/file"), "far down");
  EXPECT_EQ(drive().attr("links2/c").nlink, 2U);
  expect_usage_agrees();
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
  bool ended = false;
  start(fs->fallocate(*drive().reactor, found->id, 0, 0, kBytes), [&](const Result<void>& allocated) {
    EXPECT_TRUE(allocated);
    ended = true;
    drive().reactor->stop();
  });
  ASSERT_FALSE(ended) << "it waits for the host";
  fs->reset();
  drive().reactor->run();
  ASSERT_TRUE(ended);
  EXPECT_GE(booked().bytes, before + kBytes);
  ASSERT_TRUE(fs->lookup(vfs::kRootId, "file"));
  ASSERT_EQ(fs->unlink(vfs::kRootId, "file").has_value(), true);
  fs->reset();
  expect_usage_agrees();
}

}  // namespace
}  // namespace layerboot::test
