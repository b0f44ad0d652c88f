// The same as budget_test.cc, of what is written and allocated late.
#include <fcntl.h>
#include <linux/falloc.h>

#include <optional>
#include <vector>

#include "oci-mount/overlay/upper.h"
#include "tests/oci-mount/vfs/budget_fixture.h"

namespace layerboot::test {
namespace {

constexpr int kScattered = 30;  // files
/// What the host may have allocated and nobody has booked.
constexpr std::uint64_t kLateBytes = kMiB;

TEST_P(BudgetTest, AppendsAndBlocksFarApart) {
  const auto log = make("log");
  EXPECT_EQ(until_refused(6000,
                          [&](int i) {
                            return write_node(log, static_cast<std::uint64_t>(i) * 5000,
                                              std::string(5000, 'l'));
                          }),
            ENOSPC);
  expect_held("appended");
  EXPECT_GT(taken(), kBudgetBytes * 3 / 4) << "refused early";
  ASSERT_EQ(truncate_node(log, 0), 0);
  const auto sparse = make("sparse");
  EXPECT_EQ(until_refused(
                20'000, [&](int i) { return write_node(sparse, static_cast<std::uint64_t>(i) << 19, "s"); }),
            ENOSPC);
  expect_held("far apart");
}

/// The host allocates what was written when it writes it back, and blocks for a scattered file's extents only
/// then: a start after a kill must count them all the same.
TEST_P(BudgetTest, AStartAfterAKillCountsWhatIsAllocatedLate) {
  for (int i = 0; i < kScattered; ++i) scatter(make(numbered("scattered", i)));
  start();
  const std::uint64_t counted = used();
  ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
  expect_held("after a kill");
  start();
  EXPECT_EQ(used(), counted) << "what the next start counts, when the host has allocated all";
}

/// The same of a reset, which does not wait for the host.
TEST_P(BudgetTest, AResetMissesNothingThatIsAllocatedLate) {
  for (int i = 0; i < kScattered; ++i) scatter(make(numbered("scattered", i)));
  fs->reset();
  ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
  for (int i = 0; i < kScattered; ++i) driver->release(driver->acquire(numbered("scattered", i)));
  expect_held("after a reset, when each was met again");
  const std::uint64_t booked = used();
  start();
  EXPECT_EQ(used(), booked) << "what a start counts";
}

/// The same where no count comes, and nobody meets the files again.
TEST_P(BudgetTest, WhatIsAllocatedLateForForgottenFilesKeepsToTheBudget) {
  const int code = until_refused(5000, [&](int i) {
    const auto path = numbered("scattered", i);
    if (const int made = driver->create(path, ""); made != 0) return made;
    const auto file = driver->acquire(path);
    const int written = scattered_writes(file);
    driver->release(file);
    return written;
  });
  EXPECT_EQ(code, ENOSPC);
  EXPECT_GT(taken(), kBudgetBytes * 3 / 4) << "refused early";
  EXPECT_LE(taken(), kBudgetBytes + kLateBytes + disk_.own_bytes()) << "the host has given more";
}

/// Blocks that are there without having been written are split off from the others when they are, at
/// write-back: also where the client has read them, and the file looks as if it had no hole.
TEST_P(BudgetTest, WhatWritesIntoPreallocatedBlocksTakeLateIsBooked) {
  constexpr int rounds = 20;
  constexpr std::uint64_t kBlocks = 64;
  ASSERT_EQ(driver->create("kept", std::string(kMiB, 'k')), 0);  // what could be booked off
  for (int round = 0; round < rounds; ++round) {
    const auto file = make("file");
    ASSERT_EQ(allocate(file, 0, 0, kBlocks * kBlockBytes), 0);
    ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
    EXPECT_EQ(driver->read("file"), std::string(kBlocks * kBlockBytes, '\0'));
    for (std::uint64_t block = 1; block < kBlocks; block += 2) {
      ASSERT_EQ(write_node(file, block * kBlockBytes, "x"), 0);
    }
    driver->release(file);
    expect_held("written");  // has the host write it out, too
    driver->release(driver->acquire("file"));
    ASSERT_EQ(driver->unlink("file"), 0);
  }
  const std::uint64_t booked = used();
  start();
  EXPECT_EQ(used(), booked) << "what a start counts";
}

/// A file that has lost the name by which it is known is found by its others, but not by who settles it.
TEST_P(BudgetTest, WhatIsAllocatedLateForFilesOfOtherNamesKeepsToTheBudget) {
  const int code = until_refused(5000, [&](int i) {
    const auto path = numbered("scattered", i);
    if (const int made = driver->create(path, ""); made != 0) return made;
    const auto file = driver->acquire(path);
    int done = scattered_writes(file);
    if (done == 0) done = driver->link(path, numbered("other", i));
    if (done == 0) done = driver->unlink(path);
    driver->release(file);
    return done;
  });
  EXPECT_EQ(code, ENOSPC);
  EXPECT_LE(taken(), kBudgetBytes + kLateBytes + disk_.own_bytes()) << "the host has given more";
}

/// A client starts afresh as often as it likes, before the host has written anything.
TEST_P(BudgetTest, WhatIsAllocatedLateAddsUpOverNoResets) {
  constexpr int rounds = 12;
  constexpr int kFilesEach = 40;
  for (int round = 0; round < rounds; ++round) {
    // An XFS has much ahead of each file that is open.
    static_cast<void>(until_refused(kFilesEach, [&](int file) {
      const auto path = numbered("scattered", round * kFilesEach + file);
      const int made = driver->create(path, "");
      return made != 0 ? made : scattered_writes(driver->acquire(path));
    }));
    fs->reset();
  }
  const std::uint64_t host = taken();
  EXPECT_LE(host, used() + kLateBytes + disk_.own_bytes()) << "the host has given more than was booked";
}

/// Held or not, all is booked when the client has had all written.
TEST_P(BudgetTest, ASyncBooksWhatIsAllocatedLate) {
  std::vector<vfs::NodeId> held;
  for (int i = 0; i < kScattered; ++i) {
    held.push_back(make(numbered("scattered", i)));
    scatter(held.back());
    if (i % 2 != 0) continue;
    driver->release(held.back());
    held.pop_back();
  }
  ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
  const std::uint64_t booked = used();
  expect_held("after a sync");
  for (const auto file : held) driver->release(file);
  start();
  EXPECT_LE(used(), booked) << "what a start counts; an XFS gives back what it had ahead";
}

TEST_P(BudgetTest, WhatNeedsNoSpaceSucceedsWhenFull) {
  const auto allocated = make("allocated");
  ASSERT_EQ(allocate(allocated, 0, 0, 2 * kMiB), 0);
  const auto sparse = make("sparse");
  ASSERT_EQ(write_node(sparse, 0, std::string(kMiB, 'a')), 0);
  ASSERT_EQ(truncate_node(sparse, 64 * kMiB), 0);
  ASSERT_EQ(sync_node(sparse), 0);
  fill();
  EXPECT_EQ(write_node(sparse, 4096, std::string(65'536, 'b')), 0) << "overwrites what is there";
  EXPECT_EQ(write_node(sparse, 2 * kMiB, std::string(kMiB, 'b')), ENOSPC) << "fills a hole";
  EXPECT_EQ(allocate(allocated, 0, 0, 8 * kMiB), ENOSPC);
  // A tmpfs says of no block whether it is preallocated.
  if (host_of(GetParam()) != "tmpfs") {
    EXPECT_EQ(allocate(allocated, 0, 0, 2 * kMiB), 0) << "is allocated";
    EXPECT_EQ(allocate(allocated, FALLOC_FL_KEEP_SIZE, 4096, 65'536), 0);
    EXPECT_EQ(write_node(allocated, 0, std::string(65'536, 'c')), 0) << "what was preallocated is written";
    // btrfs gives what is zeroed other blocks.
    const bool is_given_others = host_of(GetParam()) == "btrfs";
    EXPECT_EQ(allocate(allocated, FALLOC_FL_ZERO_RANGE, 0, 2 * kMiB), is_given_others ? ENOSPC : 0);
  }
  expect_held("full");
}

TEST_P(BudgetTest, CapabilitiesThatAWriteTakesAway) {
  const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(driver->create(numbered("c", i), "content"), 0);
    ASSERT_EQ(driver->setxattr(numbered("c", i), "security.capability", capability), 0);
    ASSERT_EQ(driver->write(numbered("c", i), 0, "x"), 0);
  }
  ASSERT_TRUE(wait(fs->syncfs(*driver->reactor)));
  expect_counted("files that have lost their capabilities");
}

/// What a punch gives back is somebody else's to have as soon as it is booked: nobody may count on it without
/// reserving.
TEST_P(BudgetTest, NobodyReliesOnBlocksThatAreBeingFreed) {
  const auto file = make("file");
  ASSERT_EQ(allocate(file, 0, 0, 4 * kMiB), 0);
  ASSERT_EQ(write_node(file, 0, std::string(4 * kMiB, 'a')), 0);
  ASSERT_EQ(sync_node(file), 0);
  fill();
  std::optional<int> punched;
  layerboot::start(
      fs->fallocate(*driver->reactor, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * kMiB),
      [&](const Result<void>& done) { punched = done ? 0 : done.error().code; });
  if (!punched) {
    EXPECT_EQ(allocate(file, 0, 0, 4 * kMiB), ENOSPC) << "while it is being punched";
  }
  while (!punched) ASSERT_EQ(sync_node(file), 0);
  EXPECT_EQ(*punched, 0);
  expect_held("punched");
  // A btrfs keeps what was cut for as long as a byte is left of what was written with it.
  if (host_of(GetParam()) == "btrfs") return;
  EXPECT_EQ(allocate(file, 0, 0, 2 * kMiB), 0) << "afterwards there is room";
  driver->release(file);
  if (GetParam() != std::string_view("ext4_1k")) return expect_counted("punched and allocated");
  // Where blocks are small, a tree of extents may be a block smaller by then.
  const std::uint64_t booked = used();
  fs->reset();
  EXPECT_GE(booked, used());
  EXPECT_LE(booked - used(), kBlockBytes);
}

/// Who writes there, and has reserved nothing, may allocate it again.
TEST_P(BudgetTest, WhatIsCutOffUnderAWriteIsNotThereForOthers) {
  const auto file = make("file");
  ASSERT_EQ(write_node(file, 0, std::string(4 * kMiB, 'a')), 0);
  ASSERT_EQ(sync_node(file), 0);
  const auto another = make("another");
  fill();
  const auto other = *Reactor::create();
  std::string bytes(4 * kMiB, 'b');
  const iovec piece{bytes.data(), bytes.size()};
  std::optional<int> written;
  layerboot::start(fs->write(*other, file, 0, {&piece, 1}, vfs::Writer::kPrivileged),
                   [&](const Result<std::size_t>& put) {
                     written = put ? 0 : put.error().code;
                     other->stop();
                   });
  vfs::AttrChange to_a_block;
  to_a_block.size_bytes = kBlockBytes;
  std::optional<int> cut;
  layerboot::start(fs->setattr(*driver->reactor, file, to_a_block),
                   [&](const Result<vfs::Attr>& done) { cut = done ? 0 : done.error().code; });
  if (!written) {
    if (cut) {
      EXPECT_EQ(allocate(another, 0, 0, 2 * kMiB), ENOSPC) << "while it is being written";
    }
    other->run();
  }
  EXPECT_EQ(written, 0);
  // Where the host keeps what is cut, it has waited for the write.
  while (!cut) ASSERT_EQ(sync_node(another), 0);
  EXPECT_EQ(*cut, 0);
  EXPECT_EQ(sync_node(file), 0);
  expect_held("cut under a write");
}

/// An insertion moves blocks away from under who counts on them.
TEST_P(BudgetTest, NobodyReliesOnBlocksThatAreBeingMoved) {
  if (host_of(GetParam()) != "ext4" && host_of(GetParam()) != "xfs")
    GTEST_SKIP() << "this host inserts nothing";
  const auto file = make("file");
  ASSERT_EQ(write_node(file, 0, std::string(4 * kMiB, 'a')), 0);
  ASSERT_EQ(sync_node(file), 0);
  fill();
  const auto filler = driver->acquire("filler");
  ASSERT_EQ(truncate_node(filler, driver->attr("filler").size_bytes - kMiB), 0);
  std::optional<int> inserted;
  layerboot::start(fs->fallocate(*driver->reactor, file, FALLOC_FL_INSERT_RANGE, 0, kBudgetBytes - used()),
                   [&](const Result<void>& done) { inserted = done ? 0 : done.error().code; });
  if (!inserted) {
    std::string bytes(65'536, 'b');
    const iovec piece{bytes.data(), bytes.size()};
    const auto put = fs->try_write(file, 0, {&piece, 1}, vfs::Writer::kPrivileged);
    EXPECT_EQ(put ? 0 : put.error().code, ENOSPC) << "while they are being moved";
  }
  while (!inserted) ASSERT_EQ(sync_node(file), 0);
  EXPECT_EQ(*inserted, 0);
  expect_held("inserted");
}

/// What was to be appended finds the file cut, and another has asked meanwhile whether it has holes.
TEST_P(BudgetTest, AnAppendToWhatWasCutMeanwhileLeavesAHole) {
  if (host_of(GetParam()) == "btrfs") GTEST_SKIP() << "a cut waits for the append there";
  const auto file = make("file");
  ASSERT_EQ(write_node(file, 0, std::string(kMiB, 'a')), 0);
  const auto other = *Reactor::create();
  std::string bytes(kBlockBytes, 'b');
  const iovec piece{bytes.data(), bytes.size()};
  bool appended = false;
  layerboot::start(fs->write(*other, file, kMiB, {&piece, 1}, vfs::Writer::kPrivileged),
                   [&](const Result<std::size_t>& put) {
                     appended = put.has_value();
                     other->stop();
                   });
  ASSERT_EQ(truncate_node(file, kBlockBytes), 0);
  // Blocks beyond its end, so that by their number it has no hole.
  const int allocated = allocate(file, FALLOC_FL_KEEP_SIZE, 4 * kMiB, 2 * kMiB);
  if (allocated != 0) GTEST_SKIP() << "this host has none";
  EXPECT_EQ(write_node(file, 0, "c"), 0);
  other->run();
  ASSERT_TRUE(appended);
  fill();
  EXPECT_EQ(write_node(file, kMiB / 2, std::string(65'536, 'd')), ENOSPC) << "fills a hole";
  expect_held("appended");
}

/// They are told of by a small directory, which work/ is no more once much has been in it.
TEST(BudgetOnClustersTest, AreKnownWhateverHasBeenInTheWorkDirectory) {
  const HostDisk disk("ext4_clusters");
  if (!disk.mounted()) GTEST_SKIP() << disk.why_not();
  constexpr std::uint64_t kClusterBytes = 65536;
  for (int session = 0; session < 2; ++session) {
    const auto upper = overlay::Upper::open(disk.path() / "vm", "sha256:image");
    ASSERT_TRUE(upper) << upper.error().describe();
    EXPECT_GE(upper->tariff().for_name(3), kClusterBytes) << "session " << session;
    for (int i = 0; i < 1000; ++i) write_text(disk.path() / "vm/work" / long_name(i), "");
  }
}

}  // namespace
}  // namespace layerboot::test
