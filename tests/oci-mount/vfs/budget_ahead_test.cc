// The budget and blocks that are there before there is data in them: what the host has allocated ahead of a
// file, what the guest has preallocated, and the rest of a last block.
#include <fcntl.h>
#include <linux/falloc.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/oci-mount/vfs/budget_fixture.h"

namespace layerboot::test {
namespace {

/// XFS allocates ahead of files that grow, as much again as they have.
TEST_P(BudgetTest, WhatIsAllocatedAheadIsThereForOthers) {
  const auto written_until_refused = [this](const std::string& name, std::uint64_t most) {
    const auto node = make(name);
    std::uint64_t at = 0;
    while (at < most && write_node(node, at, std::string(64U << 10, 'a')) == 0) at += 64U << 10;
    return at;
  };
  std::uint64_t written = 0;
  for (int i = 0; i < 4; ++i) written += written_until_refused(numbered("idle", i), 1'500'000);
  written += written_until_refused("last", kBudgetBytes);
  // btrfs is charged for its checksums and extents as well.
  const bool is_btrfs = std::string_view(GetParam()).starts_with("btrfs");
  EXPECT_GT(written, kBudgetBytes / 100 * (is_btrfs ? 75 : 90)) << "refused early";
  expect_held("ahead of files");
}

TEST_P(BudgetTest, AnAppendWithinTheLastBlockNeedsNoSpace) {
  const auto node = make("file");
  ASSERT_EQ(write_node(node, 0, std::string(5000, 'a')), 0);
  ASSERT_EQ(sync_node(node), 0);
  fill();
  // btrfs writes anew what it has.
  const int code = write_node(node, 5000, "b");
  if (std::string_view(GetParam()).starts_with("btrfs")) {
    EXPECT_TRUE(code == 0 || code == ENOSPC) << code;
  } else {
    EXPECT_EQ(code, 0);
  }
  EXPECT_EQ(write_node(node, 3 * kBlockBytes, "c"), ENOSPC) << "that needs a block";
  expect_held("appended");
}

/// A file of less than 4 KiB has no more than a part of that where the host's blocks are smaller.
TEST_P(BudgetTest, WhatTheLastBlockHasNoRoomForNeedsSpace) {
  constexpr int kFiles = 1200;
  std::vector<vfs::NodeId> files;
  for (int i = 0; i < kFiles; ++i) {
    files.push_back(make(numbered("small", i)));
    ASSERT_EQ(write_node(files.back(), 0, std::string(500, 's')), 0);
  }
  ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
  fill();
  for (const auto file : files) static_cast<void>(write_node(file, 500, std::string(3500, 'l')));
  expect_held("small files that have grown");
}

TEST_P(BudgetTest, WhatIsPreallocatedIsThereForItsFile) {
  constexpr std::uint64_t kLogBytes = 4 * kMiB;
  const auto log = make("log");
  ASSERT_EQ(write_node(log, 0, "a log"), 0);
  ASSERT_EQ(allocate(log, FALLOC_FL_KEEP_SIZE, 0, kLogBytes), 0);
  driver->release(log);
  ASSERT_TRUE(fs->stop());
  start();
  const auto again = driver->acquire("log");
  const auto far = make("far");
  ASSERT_EQ(allocate(far, FALLOC_FL_KEEP_SIZE, kMiB, kMiB), 0);
  fill();
  if (std::string_view(GetParam()).starts_with("ext4") || GetParam() == std::string_view("xfs")) {
    EXPECT_EQ(write_node(far, kMiB, std::string(4096, 'f')), 0) << "behind a hole, which stays one";
  }
  for (std::uint64_t at = 5; at + 64U * 1024 < kLogBytes; at += 64U * 1024) {
    const int code = write_node(again, at, std::string(64U * 1024, 'l'));
    const std::string_view host = GetParam();
    // btrfs is charged for its checksums as well, and tmpfs does not say what it has beyond a file's end.
    if (host.starts_with("ext4") || host == "xfs") {
      ASSERT_EQ(code, 0) << at;
    } else {
      ASSERT_TRUE(code == 0 || code == ENOSPC) << code;
    }
  }
  EXPECT_EQ(sync_node(again), 0);
  expect_held("a log that is preallocated");
}

/// What gives it back is as it was, and who needs it need not be a write.
TEST_P(BudgetTest, WhatIsAllocatedAheadIsThereForAllAndLeavesNoTrace) {
  const auto idle = make("idle");
  const auto program = make("program");
  for (std::uint64_t at = 0; at < 5 * kMiB / 2; at += 256U << 10) {
    ASSERT_EQ(write_node(idle, at, std::string(256U << 10, 'i')), 0);
    ASSERT_EQ(write_node(program, at, std::string(256U << 10, 'p')), 0);
  }
  const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  ASSERT_EQ(driver->setxattr("program", "security.capability", capability), 0);
  vfs::AttrChange old;
  old.mtime = vfs::TimeChange{.now = false, .time = {1'000'000, 0}};
  ASSERT_EQ(driver->setattr("idle", old), 0);
  ASSERT_EQ(driver->setattr("program", old), 0);
  ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
  // No more than df says that there is, and none of it by the writes that are known to ask for it.
  for (int i = 0; i < kDirectories && fs->statfs()->blocks_free * kBlockBytes > 2 * kMiB; i += 100)
    ASSERT_EQ(driver->write(str_cat(i, "/f"), 0, "x"), 0) << i << " of " << fs->statfs()->blocks_free;
  for (int i = 0; fs->statfs()->blocks_free * kBlockBytes > kMiB; ++i) {
    ASSERT_EQ(driver->mkdir(numbered("d", i)), 0) << fs->statfs()->blocks_free;
    ASSERT_EQ(driver->setxattr(numbered("d", i), "user.a", std::string(500, 'a')), 0);
  }
  fill();
  for (const auto* const name : {"idle", "program"}) {
    EXPECT_EQ(driver->attr(name).mtime.sec, 1'000'000) << name;
    EXPECT_EQ(driver->attr(name).size_bytes, 5 * kMiB / 2) << name;
  }
  const auto kept = fs->getxattr(program, "security.capability");
  EXPECT_TRUE(kept && *kept == capability);
  expect_held("what was ahead");
}

/// By what a file with holes has, nobody sees what of that is ahead of it.
TEST_P(BudgetTest, WhatIsAheadOfFilesWithHolesIsBookedOff) {
  std::vector<vfs::NodeId> files;
  for (int i = 0; i < 3; ++i) {
    files.push_back(make(numbered("sparse", i)));
    ASSERT_EQ(truncate_node(files.back(), 256 * kMiB), 0);
    for (std::uint64_t piece = 0; piece < 32; ++piece)
      ASSERT_EQ(write_node(files.back(), 256 * kMiB + (piece << 16), std::string(1U << 16, 's')), 0);
    ASSERT_EQ(sync_node(files.back()), 0);
  }
  for (const auto file : files) driver->release(file);
  ASSERT_TRUE(fs->stop());
  start();
  const std::uint64_t noted = used();
  start();  // after no stop: what is there is counted
  EXPECT_EQ(noted, used()) << "the stop's word is what a count finds";
}

/// Two clients make one file longer where there is no room for what the host allocates ahead of it.
TEST_P(BudgetTest, WhatIsWrittenStaysThoughWhatIsAheadIsGivenBack) {
  constexpr std::uint64_t kPieceBytes = 256U << 10;
  const int rounds = std::string_view(GetParam()) == "xfs" ? 40 : 5;
  for (int round = 0; round < rounds; ++round) {
    const auto node = make("file");
    std::atomic<std::uint64_t> next = 0;
    std::mutex mutex;
    std::vector<std::uint64_t> taken_pieces;
    {
      std::vector<std::jthread> writers;
      for (int i = 0; i < 3; ++i) {
        writers.emplace_back([&] {
          const std::string bytes(kPieceBytes, 'w');
          const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
          FsDriver own(*fs);
          Reactor& reactor = *own.reactor;
          for (int refused = 0; refused < 3;) {
            const std::uint64_t at = kPieceBytes * next++;
            const auto put =
                reactor.block_on(fs->write(reactor, node, at, {&piece, 1}, vfs::Writer::kPrivileged));
            if (!put || *put != kPieceBytes) {
              ++refused;
              continue;
            }
            const std::lock_guard lock(mutex);
            taken_pieces.push_back(at);
          }
        });
      }
    }
    std::string back(kPieceBytes, '\0');
    const iovec into{back.data(), back.size()};
    for (const std::uint64_t at : taken_pieces) {
      back.assign(kPieceBytes, '\0');
      ASSERT_EQ(wait(fs->read(*driver->reactor, node, at, {&into, 1})).value_or(0), kPieceBytes);
      ASSERT_EQ(back.find_first_not_of('w'), std::string::npos) << "what was written at " << at << " is gone";
    }
    EXPECT_GT(taken_pieces.size() * kPieceBytes, kBudgetBytes * 3 / 4) << "refused early";
    driver->release(node);
    ASSERT_EQ(driver->unlink("file"), 0);
  }
}

}  // namespace
}  // namespace layerboot::test
