// What may be written without taking more, as the host says.
#include "oci-mount/overlay/allocated_range.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "oci-mount/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

constexpr std::uint64_t kBlock = 4096;

/// How many pieces the host has the file in; 0 where it does not say.
unsigned pieces_of(int fd) {
  struct fiemap map{};
  map.fm_length = FIEMAP_MAX_OFFSET;
  map.fm_flags = FIEMAP_FLAG_SYNC;
  return ::ioctl(fd, FS_IOC_FIEMAP, &map) == 0 ? map.fm_mapped_extents : 0;
}

/// On a file system that tells of extents, or (tmpfs) of holes alone.
class AllocatedRangeTest : public testing::TestWithParam<bool> {
 protected:
  AllocatedRangeTest()
      : fd_(GetParam() ? ::open(top_.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                       : ::memfd_create("range", MFD_CLOEXEC)) {}
  void write(std::uint64_t block, std::uint64_t blocks = 1) {
    const std::string bytes(blocks * kBlock, 'x');
    ASSERT_EQ(::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(block * kBlock)),
              static_cast<ssize_t>(bytes.size()));
  }
  [[nodiscard]] bool allocated(std::uint64_t first_block, std::uint64_t end_block) const {
    return is_allocated(fd_.get(), first_block * kBlock, end_block * kBlock);
  }

  test::TempDir top_;
  UniqueFd fd_;
};
INSTANTIATE_TEST_SUITE_P(EachWayToAsk, AllocatedRangeTest, testing::Values(true, false),
                         [](const auto& extents) { return extents.param ? "Extents" : "Holes"; });

TEST_P(AllocatedRangeTest, DataIs) {
  write(0, 4);
  EXPECT_TRUE(allocated(0, 4));
  EXPECT_TRUE(allocated(1, 2));
  EXPECT_TRUE(is_allocated(fd_.get(), 1, 4 * kBlock - 1)) << "whole blocks or not";
  EXPECT_TRUE(is_allocated(fd_.get(), 4 * kBlock - 1, 4 * kBlock));
}

TEST_P(AllocatedRangeTest, NothingNeedsNoRoom) {
  EXPECT_TRUE(allocated(0, 0));
  EXPECT_TRUE(allocated(7, 7));
}

TEST_P(AllocatedRangeTest, HolesAreNot) {
  write(0);
  write(3);
  EXPECT_TRUE(allocated(0, 1));
  EXPECT_TRUE(allocated(3, 4));
  EXPECT_FALSE(allocated(1, 2));
  EXPECT_FALSE(allocated(0, 2)) << "a hole at its end";
  EXPECT_FALSE(allocated(2, 4)) << "at its beginning";
  EXPECT_FALSE(allocated(0, 4)) << "within";
}

TEST_P(AllocatedRangeTest, NorIsWhatLiesBeyondTheEnd) {
  write(0);
  EXPECT_FALSE(allocated(0, 2));
  EXPECT_FALSE(allocated(5, 6));
  EXPECT_FALSE(is_allocated(fd_.get(), 0, static_cast<std::uint64_t>(INT64_MAX)));
}

TEST_P(AllocatedRangeTest, WhatWasFreedAgainIsNot) {
  write(0, 4);
  ASSERT_EQ(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock, kBlock), 0);
  EXPECT_FALSE(allocated(0, 4));
  EXPECT_TRUE(allocated(2, 4));
}

TEST_P(AllocatedRangeTest, MoreDataThanOneAnswerTells) {
  constexpr std::uint64_t kPieces = 100;
  for (std::uint64_t piece = 0; piece < kPieces; ++piece) write(piece * 2);
  // Afterwards, so that the pieces may be extents of their own.
  EXPECT_FALSE(allocated(0, kPieces * 2));
  for (std::uint64_t piece = 0; piece < kPieces; ++piece) write(piece * 2 + 1);
  EXPECT_TRUE(allocated(0, kPieces * 2));
  // XFS allocates ahead, but not as far.
  EXPECT_FALSE(allocated(0, kPieces * 200));
}

TEST(AllocatedRange, PreallocatedBlocksAre) {
  const test::TempDir top;
  const UniqueFd fd(::open(top.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (::fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, 0, 8 * kBlock) != 0) GTEST_SKIP() << "no fallocate here";
  if (pieces_of(fd.get()) == 0) GTEST_SKIP() << "this host does not say what lies beyond the end";
  EXPECT_TRUE(is_allocated(fd.get(), 0, 8 * kBlock)) << "not written, and beyond the end";
  EXPECT_FALSE(is_allocated(fd.get(), 0, 9 * kBlock));
}

// Written blocks far apart in preallocated ones: each is a piece of its own.
TEST(AllocatedRange, TooManyPiecesAreNotLookedAt) {
  constexpr std::uint64_t kApart = 16 * kBlock;
  constexpr std::uint64_t kWritten = kMostExtents / 2 + 32;
  const test::TempDir top;
  const UniqueFd fd(::open(top.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (::fallocate(fd.get(), 0, 0, kWritten * kApart) != 0) GTEST_SKIP() << "no fallocate here";
  const std::string bytes(kBlock, 'x');
  for (std::uint64_t i = 0; i < kWritten; ++i) {
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(i * kApart)),
              static_cast<ssize_t>(kBlock));
  }
  if (pieces_of(fd.get()) <= kMostExtents) GTEST_SKIP() << "this host has them in fewer pieces";
  EXPECT_TRUE(is_allocated(fd.get(), 0, kWritten * kApart / 2));
  EXPECT_FALSE(is_allocated(fd.get(), 0, kWritten * kApart));
}

TEST(AllocatedRange, WhoCannotSayDoesNotSayYes) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const UniqueFd reader(pipe[0]);
  const UniqueFd writer(pipe[1]);
  EXPECT_FALSE(is_allocated(reader.get(), 0, 1));
  EXPECT_FALSE(is_allocated(-1, 0, 1));
}

TEST_P(AllocatedRangeTest, WhatIsPreallocatedIsNotWritten) {
  write(0, 2);
  ASSERT_EQ(::fsync(fd_.get()), 0);
  const auto before = first_unwritten(fd_.get());
  if (!before) GTEST_SKIP() << "this host does not say";
  EXPECT_EQ(before, UINT64_MAX);
  ASSERT_EQ(::fallocate(fd_.get(), 0, 0, 8 * kBlock), 0);
  EXPECT_EQ(first_unwritten(fd_.get()), 2 * kBlock);
  write(2, 6);
  ASSERT_EQ(::fsync(fd_.get()), 0);
  EXPECT_EQ(first_unwritten(fd_.get()), UINT64_MAX);
}

TEST_P(AllocatedRangeTest, OfTooManyExtentsItIsNotAskedWhatIsWritten) {
  for (unsigned i = 0; i < kMostExtents + 10; ++i) write(2 * i);
  ASSERT_EQ(::fsync(fd_.get()), 0);
  const unsigned pieces = pieces_of(fd_.get());
  if (pieces > 0 && pieces <= kMostExtents) GTEST_SKIP() << "this host has them in fewer pieces";
  // XFS may have some that it has allocated ahead among the first.
  EXPECT_NE(first_unwritten(fd_.get()), UINT64_MAX);
}

}  // namespace
}  // namespace layerboot::overlay
