// The budget, as a client meets it.
#include <fcntl.h>
#include <linux/falloc.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kSmallBytes = 1 << 20;
constexpr std::uint64_t kSmallInodes = 20;

class QuotaFsTest : public WritableFsTest {
 protected:
  void SetUp() override { open_writable(kSmallBytes, kSmallInodes); }
  void TearDown() override {
    if (!fs) return;
    static_cast<void>(drive().snapshot());
    EXPECT_EQ(used_bytes(), host_usage(directory / "vm").bytes);
    EXPECT_LE(used_bytes(), kSmallBytes);
  }
  std::uint64_t used_bytes() { return kSmallBytes - fs->statfs()->blocks_free * 4096; }
  /// Until it is full.
  int fill(const std::string& path) {
    static_cast<void>(drive().create(path, ""));
    const std::string piece(64 * 1024, 'x');
    for (std::uint64_t at = 0; at < 4 * kSmallBytes; at += piece.size()) {
      if (const int code = drive().write(path, at, piece); code != 0) return code;
    }
    return 0;
  }
  bool work_is_empty() {
    for (const auto& entry : std::filesystem::directory_iterator(directory / "vm/work")) {
      if (entry.path().filename() != "whiteout") return false;
    }
    return true;
  }
};

TEST_F(QuotaFsTest, AWriteOverTheBudgetIsRefusedAndWhatWasThereStays) {
  EXPECT_EQ(drive().create("kept", "kept"), 0);
  EXPECT_EQ(fill("hog"), ENOSPC);
  EXPECT_GT(used_bytes(), kSmallBytes - 128 * 1024);
  EXPECT_EQ(drive().read("kept"), "kept");
  EXPECT_EQ(drive().write("kept", 0, "KEPT"), 0) << "over what is there, nothing grows";
  const auto size = drive().attr("hog").size_bytes;
  EXPECT_EQ(drive().write("hog", size, std::string(256 * 1024, 'y')), ENOSPC);
  EXPECT_EQ(drive().attr("hog").size_bytes, size);
  EXPECT_EQ(drive().unlink("hog"), 0);
  EXPECT_EQ(drive().create("after", std::string(512 * 1024, 'x')), 0);
}

TEST_F(QuotaFsTest, RmWorksWhenTheBudgetIsFull) {
  EXPECT_EQ(fill("hog"), ENOSPC);
  while (drive().create("small" + std::to_string(fs->statfs()->inodes_free), "") == 0) {
  }
  EXPECT_EQ(drive().unlink("deep/er/est/file"), 0) << "its directories have to be copied up for that";
  EXPECT_EQ(drive().rmdir("empty"), 0);
  EXPECT_EQ(drive().unlink("links2/c"), 0);
  EXPECT_EQ(drive().mkdir("new"), ENOSPC);
  EXPECT_EQ(drive().unlink("hog"), 0);
}

TEST_F(QuotaFsTest, InodesRunOut) {
  int code = 0;
  std::uint64_t made = 0;
  for (; code == 0; ++made) code = drive().create("f" + std::to_string(made), "");
  EXPECT_EQ(code, ENOSPC);
  EXPECT_EQ(made, kSmallInodes + 1);
  EXPECT_EQ(fs->statfs()->inodes_free, 0U);
  EXPECT_EQ(drive().mkdir("d"), ENOSPC);
  EXPECT_EQ(drive().symlink("s", "x"), ENOSPC);
  EXPECT_EQ(code_of(fs->tmpfile(vfs::kRootId, 0600, {})), ENOSPC);
  EXPECT_EQ(drive().write("etc/small", 0, "x"), ENOSPC) << "a copy is an inode";
  EXPECT_EQ(drive().link("f0", "another-name"), 0) << "a name is none";
  EXPECT_EQ(drive().unlink("f1"), 0);
  EXPECT_EQ(drive().mkdir("d"), 0);
}

TEST_F(QuotaFsTest, ACopyUpOverTheBudgetLeavesTheImagesFileAndNothingElse) {
  EXPECT_EQ(drive().write("etc/big", 0, "x"), ENOSPC);
  EXPECT_TRUE(drive().read("etc/big") == lower_big());
  EXPECT_TRUE(work_is_empty());
  EXPECT_EQ(drive().truncate("etc/big", 1000), 0) << "what is cut off need not be copied";
  EXPECT_TRUE(drive().read("etc/big") == lower_big().substr(0, 1000));
}

TEST_F(QuotaFsTest, ACopyThatOneNameHasNoRoomForIsNoneAtAll) {
  open_writable(kSmallBytes, 2);  // for the file and one of its two directories
  EXPECT_EQ(drive().write("links/b", 0, "x"), ENOSPC);
  EXPECT_EQ(drive().read("links/a"), "hard-linked");
  EXPECT_EQ(drive().read("links2/c"), "hard-linked");
  EXPECT_TRUE(work_is_empty());
  open_writable(kSmallBytes, kSmallInodes);
  EXPECT_EQ(drive().write("links/b", 0, "x"), 0);
  EXPECT_EQ(drive().read("links2/c"), "xard-linked");
}

TEST_F(QuotaFsTest, SparseFilesAreChargedForWhatTheyHold) {
  EXPECT_EQ(drive().create("sparse", ""), 0);
  EXPECT_EQ(drive().truncate("sparse", 1ULL << 40), 0);
  const auto empty_bytes = used_bytes();
  EXPECT_LE(empty_bytes, 8192U);
  EXPECT_EQ(drive().write("sparse", 1ULL << 39, "x"), 0);
  EXPECT_GT(used_bytes(), empty_bytes);
  EXPECT_LT(used_bytes(), 64U * 1024);
  EXPECT_EQ(drive().truncate("sparse", 0), 0);
}

TEST_F(QuotaFsTest, PreallocationIsChargedAndPunchingGivesBack) {
  if (tariff().keeps_what_is_cut()) GTEST_SKIP() << "this host keeps what is punched out";
  EXPECT_EQ(drive().create("f", ""), 0);
  const auto node = drive().acquire("f");
  Reactor& ring = *drive().reactor;
  EXPECT_EQ(code_of(wait(fs->fallocate(ring, node, 0, 0, 2 * kSmallBytes))), ENOSPC);
  EXPECT_TRUE(wait(fs->fallocate(ring, node, 0, 0, kSmallBytes / 2)));
  EXPECT_GE(used_bytes(), kSmallBytes / 2);
  EXPECT_TRUE(
      wait(fs->fallocate(ring, node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kSmallBytes / 2)));
  EXPECT_LE(used_bytes(), 8192U);
  EXPECT_EQ(drive().attr("f").size_bytes, kSmallBytes / 2);
}

// Blocks preallocated past the end say nothing of holes before it: filling those must not go past the budget.
TEST_F(QuotaFsTest, PreallocationPastTheEndHidesNoHoles) {
  constexpr std::uint64_t kHalf = kSmallBytes / 2;
  EXPECT_EQ(drive().create("f", ""), 0);
  EXPECT_EQ(drive().truncate("f", kHalf + kHalf / 2), 0);
  const auto node = drive().acquire("f");
  EXPECT_TRUE(wait(fs->fallocate(*drive().reactor, node, FALLOC_FL_KEEP_SIZE, 2 * kHalf, kHalf + kHalf / 2)));
  int code = 0;
  for (std::uint64_t at = 0; at < kHalf && code == 0; at += 32 * 1024) {
    code = write_node(node, at, std::string(32 * 1024, 'x'));
  }
  EXPECT_EQ(code, ENOSPC);
  EXPECT_LE(host_usage(directory / "vm").bytes, kSmallBytes);
}

TEST_F(QuotaFsTest, TheCountIsRebuiltFromTheUpper) {
  EXPECT_EQ(drive().create("a", std::string(300'000, 'x')), 0);
  EXPECT_EQ(drive().link("a", "b"), 0);
  EXPECT_EQ(drive().mkdir("d"), 0);
  EXPECT_EQ(drive().unlink("etc/small"), 0);
  const auto bytes = used_bytes();
  const auto inodes = fs->statfs()->inodes_free;
  open_writable(kSmallBytes, kSmallInodes);
  EXPECT_EQ(used_bytes(), bytes);
  EXPECT_EQ(fs->statfs()->inodes_free, inodes);
}

TEST_F(QuotaFsTest, ABudgetBelowWhatIsThereOnlyRefusesGrowth) {
  EXPECT_EQ(drive().create("a", std::string(300'000, 'x')), 0);
  open_writable(32U << 10, 1);
  EXPECT_EQ(fs->statfs()->blocks_free, 0U);
  EXPECT_EQ(drive().create("b", ""), ENOSPC);
  EXPECT_EQ(drive().write("a", 300'000, std::string(8192, 'y')), ENOSPC);
  EXPECT_EQ(drive().write("a", 0, "y"), 0);
  EXPECT_EQ(drive().unlink("a"), 0);
  EXPECT_EQ(drive().create("b", ""), 0);
  open_writable(kSmallBytes, kSmallInodes);
}

}  // namespace
}  // namespace layerboot::test
