// The same as budget_test.cc, of what a host may keep of data that was written over, cut off or zeroed.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "oci-mount/base/files.h"
#include "tests/oci-mount/vfs/budget_fixture.h"
#include "tests/support/host_calls.h"

namespace layerboot::test {
namespace {

TEST_P(BudgetTest, OverwritesOfWhatIsThere) {
  const auto node = make("file");
  constexpr std::uint64_t kBytes = 4 * kMiB;
  ASSERT_EQ(write_node(node, 0, std::string(kBytes, 'a')), 0);
  ASSERT_EQ(sync_node(node), 0);
  // All but a little of what was written before, again and again.
  until_full(11, [&](int round) {
    const std::uint64_t left_bytes = (static_cast<std::uint64_t>(round) + 1) * kBlockBytes;
    const int code = write_node(node, 0, std::string(kBytes - left_bytes, static_cast<char>('b' + round)));
    static_cast<void>(sync_node(node));
    return code;
  });
  expect_held("overwritten");
}

TEST_P(BudgetTest, CutsOfWhatWasWrittenAtOnce) {
  until_full(12, [&](int i) {
    if (const int made = driver->create(numbered("cut", i), ""); made != 0) return made;
    const auto node = driver->acquire(numbered("cut", i));
    int code = write_node(node, 0, std::string(3 * kMiB, 'c'));
    if (code == 0) code = sync_node(node);
    if (code == 0)
      code = i % 2 == 0 ? truncate_node(node, 5000)
                        : allocate(node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 3 * kMiB);
    static_cast<void>(sync_node(node));
    driver->release(node);
    return code;
  });
  expect_held("cut");
}

/// By a guest that boots again and again, in the same daemon or in others.
TEST_P(BudgetTest, CutsAreKnownAfterResetsAndStarts) {
  const auto node = make("cut");
  driver->release(node);
  until_full(24, [&](int round) {
    const auto again = driver->acquire("cut");
    int code = write_node(again, 0, std::string(kMiB, 'c'));
    if (code == 0) code = sync_node(again);
    if (code == 0) code = truncate_node(again, kBlockBytes);
    if (code == 0) code = sync_node(again);
    driver->release(again);
    if (code == 0 && round % 3 == 0) fs->reset();
    if (code == 0 && round % 3 == 1) {
      EXPECT_TRUE(fs->stop());
      start();
    }
    return code;
  });
  expect_held("cut and booted");
  EXPECT_EQ(driver->unlink("cut"), 0);
  EXPECT_LT(used(), kMiB) << "it goes with the file";
}

/// As an upper that cp -a has brought to btrfs: its files are copied when they are written over.
class BudgetOfBroughtFilesTest : public BudgetTest {
 protected:
  static constexpr std::uint64_t kBytes = 4 * kMiB;
  vfs::NodeId bring() {
    const auto made = make("brought");
    EXPECT_EQ(write_node(made, 0, std::string(kBytes, 'b')), 0);
    EXPECT_EQ(sync_node(made), 0);
    driver->release(made);
    EXPECT_TRUE(fs->stop());
    driver.reset();
    fs.reset();
    const auto brought = disk_.path() / "vm/upper/brought";
    const auto copied = str_cat("cp -a ", brought.string(), " ", (disk_.path() / "copy").string(), " && mv ",
                                (disk_.path() / "copy").string(), " ", brought.string(), " && sync");
    EXPECT_EQ(std::system(copied.c_str()), 0);
    start();
    return driver->acquire("brought");
  }
};
INSTANTIATE_TEST_SUITE_P(Hosts, BudgetOfBroughtFilesTest, testing::Values("ext4", "xfs", "btrfs", "tmpfs"),
                         [](const auto& host) { return std::string(host.param); });

/// The rest of each block at a hole's ends is written over.
TEST_P(BudgetOfBroughtFilesTest, HolesOfAByte) {
  const auto node = bring();
  until_full(7, [&](int round) {
    for (std::uint64_t block = 0; block < kBytes / kBlockBytes; ++block) {
      if (block % 256 <= static_cast<std::uint64_t>(round)) continue;
      const int code = allocate(node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, block * kBlockBytes + 7, 1);
      if (code != 0) return code;
    }
    return sync_node(node);
  });
  expect_held("holes of a byte");
}

TEST_P(BudgetOfBroughtFilesTest, Overwrites) {
  const auto node = bring();
  // All but a block of each piece that is written at once.
  until_full(30, [&](int round) {
    const std::uint64_t left_bytes = static_cast<std::uint64_t>(round) * kBlockBytes;
    const int code = write_node(node, 0, std::string(kBytes - left_bytes, static_cast<char>('c' + round)));
    return code == 0 ? sync_node(node) : code;
  });
  expect_held("brought from elsewhere and written over");
}

/// The host may give what is zeroed other blocks.
TEST_P(BudgetTest, RangesThatAreZeroedAndWrittenAgain) {
  constexpr std::uint64_t kBytes = 3 * kMiB;
  const auto node = make("zeroed");
  ASSERT_EQ(write_node(node, 0, std::string(kBytes, 'z')), 0);
  ASSERT_EQ(sync_node(node), 0);
  const auto zero_from = [&](std::uint64_t from) {
    return allocate(node, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, from, kBytes - from);
  };
  if (zero_from(kBytes - kBlockBytes) == EOPNOTSUPP) return;  // tmpfs
  until_full(19, [&](int round) {
    const std::uint64_t from = (static_cast<std::uint64_t>(round) + 1) * kBlockBytes;
    int code = zero_from(from);
    if (code == 0) code = write_node(node, from, std::string(kBytes - from, 'w'));
    return code == 0 ? sync_node(node) : code;
  });
  expect_held("zeroed");
}

/// A request that another client makes while the host is asked for the file's extents, after it was cut.
class BudgetBesideACutTest : public BudgetTest {
 protected:
  int cut_while(vfs::NodeId node, std::uint64_t size, const std::function<void(Reactor&)>& request) {
    const RequestsMeanwhile meanwhile(HostCall::kExtents, [&] {
      const auto reactor = *Reactor::create();
      request(*reactor);
    });
    return truncate_node(node, size);
  }
  std::function<void(Reactor&)> a_write(vfs::NodeId node, std::uint64_t offset, std::uint64_t bytes) {
    return [this, node, offset, bytes](Reactor& reactor) {
      const std::string data(bytes, 'w');
      const iovec piece{const_cast<char*>(data.data()), data.size()};
      EXPECT_TRUE(reactor.block_on(fs->write(reactor, node, offset, {&piece, 1}, vfs::Writer::kPrivileged)));
    };
  }
};
INSTANTIATE_TEST_SUITE_P(Hosts, BudgetBesideACutTest, testing::Values("ext4", "xfs", "btrfs", "tmpfs"),
                         [](const auto& host) { return std::string(host.param); });

/// What it adds is not on the disk, though all that was there when the cut began is.
TEST_P(BudgetBesideACutTest, AnAppendDoesNotMoveTheCut) {
  const auto node = make("file");
  ASSERT_EQ(write_node(node, 0, std::string(kMiB, 'f')), 0);
  ASSERT_EQ(sync_node(node), 0);
  ASSERT_EQ(cut_while(node, kMiB, a_write(node, kMiB, kBlockBytes)), 0);
  ASSERT_EQ(write_node(node, kMiB + kBlockBytes, std::string(6 * kMiB, 'f')), 0);
  ASSERT_EQ(sync_node(node), 0);
  ASSERT_EQ(truncate_node(node, kMiB + kBlockBytes), 0);
  ASSERT_EQ(sync_node(node), 0);
  expect_held("cut beside an append");
}

/// By its totals the file would have changed in nothing.
TEST_P(BudgetBesideACutTest, AsMuchAsWasCutMayBeWrittenMeanwhile) {
  const auto node = make("file");
  ASSERT_EQ(write_node(node, 0, std::string(6 * kMiB, 'f')), 0);
  ASSERT_EQ(sync_node(node), 0);
  ASSERT_EQ(cut_while(node, kBlockBytes, a_write(node, kBlockBytes, 6 * kMiB - kBlockBytes)), 0);
  ASSERT_EQ(sync_node(node), 0);
  expect_held("cut and written");
}

/// The session ends under the cut, which nobody books then.
TEST_P(BudgetBesideACutTest, AnInitForgetsNothingOfIt) {
  const auto node = make("file");
  ASSERT_EQ(write_node(node, 0, std::string(6 * kMiB, 'f')), 0);
  ASSERT_EQ(sync_node(node), 0);
  static_cast<void>(cut_while(node, kBlockBytes, [this](Reactor&) { fs->reset(); }));
  expect_held("cut under an INIT");
}

/// Which leaves no count to the next start.
TEST_P(BudgetTest, CutsAreKnownAfterAStopThatHasNoMemory) {
  ASSERT_EQ(driver->rename("0", "moved"), 0);
  const auto node = make("cut");
  ASSERT_EQ(write_node(node, 0, std::string(6 * kMiB, 'c')), 0);
  ASSERT_EQ(sync_node(node), 0);
  ASSERT_EQ(truncate_node(node, kBlockBytes), 0);
  ASSERT_EQ(sync_node(node), 0);
  std::uint64_t taken_bytes = 0;
  for (std::uint64_t piece = 1U << 20; piece >= 64; piece /= 2) {
    while (source->memory.try_take(piece)) taken_bytes += piece;
  }
  static_cast<void>(fs->stop());
  source->memory.give_back(taken_bytes);
  start();
  expect_held("cut, and stopped without memory");
}

/// The rest of what was the last block is written, though the file has only grown.
TEST_P(BudgetTest, AFileThatGrowsByNothingButItsSize) {
  const auto node = make("grown");
  fill();
  until_full(6000, [&](int i) { return truncate_node(node, 8192 * static_cast<std::uint64_t>(i) + 1); });
  static_cast<void>(sync_node(node));
  expect_held("grown by its size");
}

/// What is cut before it is on the disk shares an extent with what comes behind it.
TEST_P(BudgetTest, CutsOfWhatIsNotOnTheDisk) {
  until_full(40, [&](int i) {
    if (const int made = driver->create(numbered("early", i), ""); made != 0) return made;
    const auto node = driver->acquire(numbered("early", i));
    int code = write_node(node, 0, std::string(2 * kBlockBytes, 'e'));
    if (code == 0) code = truncate_node(node, 2 * kBlockBytes);
    if (code == 0) code = write_node(node, 2 * kBlockBytes, std::string(2 * kMiB, 'e'));
    if (code == 0) code = sync_node(node);
    if (code == 0) code = truncate_node(node, 2 * kBlockBytes);
    driver->release(node);
    return code;
  });
  expect_held("cut before it was written back");
}

/// A program that cuts its journal to a limit, or appends lines to its log, does not fill the disk by that.
TEST_P(BudgetTest, CutsAndAppendsAgainAndAgainAreChargedOnce) {
  const auto journal = make("journal");
  for (int round = 0; round < 12; ++round) {
    ASSERT_EQ(write_node(journal, 0, std::string(2 * kMiB, 'j')), 0) << round;
    ASSERT_EQ(sync_node(journal), 0);
    ASSERT_EQ(truncate_node(journal, kMiB), 0);
    if (round == 5) {
      driver->release(journal);
      ASSERT_TRUE(fs->stop());
      start();
      ASSERT_EQ(driver->acquire("journal"), journal);
    }
  }
  EXPECT_LT(used(), 6 * kMiB);
  expect_held("a journal");
}

TEST_P(BudgetTest, OverwritesBelowADirectoryThatIsToBeCompressed) {
  driver.reset();
  fs.reset();
  std::filesystem::remove_all(disk_.path() / "vm");
  const auto top = open_path(disk_.path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(top);
  int flags = 0;
  if (::ioctl(top->get(), FS_IOC_GETFLAGS, &flags) == 0) {
    flags |= FS_COMPR_FL;
    static_cast<void>(::ioctl(top->get(), FS_IOC_SETFLAGS, &flags));
  }
  start();
  constexpr std::uint64_t kBytes = 4 * kMiB;
  const auto node = make("file");
  for (std::uint64_t round = 0; round < 30; ++round) {
    std::string bytes(kBytes - round * kBlockBytes, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((i * i + round) >> 3);
    ASSERT_EQ(write_node(node, 0, bytes), 0) << "it is written in place";
    ASSERT_EQ(sync_node(node), 0);
  }
  expect_held("to be compressed");
}

}  // namespace
}  // namespace layerboot::test
