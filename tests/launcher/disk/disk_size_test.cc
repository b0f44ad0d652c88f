#include "launcher/disk/disk_size.h"

#include <gtest/gtest.h>

#include <fstream>

#include "oci-mount/base/size.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

TEST(DiskSizeTest, CountsBlocksAndEachInodeOnce) {
  const ScratchDir scratch;
  const auto root = scratch.path();
  std::filesystem::create_directory(root / "dir");
  std::ofstream(root / "dir/file") << std::string(5000, 'x');
  std::filesystem::create_hard_link(root / "dir/file", root / "second-name");
  std::filesystem::create_symlink("dir", root / "link");
  const auto size = measure_tree(root);
  ASSERT_TRUE(size) << size.error().text;
  EXPECT_EQ(size->inodes, 3U);
  // Two blocks of the file, and a directory's one at least (some file systems say 0).
  EXPECT_GE(size->data_bytes, 3 * 4096U);
}

TEST(DiskSizeTest, MissingTreeIsAnError) { EXPECT_EQ(measure_tree("/nowhere/at/all").error().code, ENOENT); }

TEST(DiskSizeTest, SmallestDiskHoldsContentTablesAndJournal) {
  for (const std::uint64_t files : {0U, 10U, 100'000U, 5'000'000U}) {
    const TreeSize size{.data_bytes = files * 4096, .inodes = files};
    const std::uint64_t disk = smallest_disk_bytes(size);
    EXPECT_GE(inodes_for(size, disk), files + files / 2);
    EXPECT_GT(disk, size.data_bytes + inodes_for(size, disk) * 256 + 64 * kMib) << files;
    EXPECT_EQ(disk % 4096, 0U);
  }
}

TEST(DiskSizeTest, LargeDiskGetsTheUsualInodes) {
  EXPECT_EQ(inodes_for({.data_bytes = 4096, .inodes = 10}, 1024 * kMib), 65536U);
}

}  // namespace
}  // namespace layerboot::launcher
