#include "oci-mount/overlay/tariff.h"

#include <gtest/gtest.h>
#include <linux/magic.h>

#include <string>

namespace layerboot::overlay {
namespace {

struct stat object(mode_t mode, blkcnt_t blocks, nlink_t names, off_t size = 0) {
  struct stat st{};
  st.st_mode = mode;
  st.st_blocks = blocks;
  st.st_nlink = names;
  st.st_size = size;
  return st;
}

constexpr HostKind kKinds[] = {HostKind::kExt4, HostKind::kXfs, HostKind::kBtrfs, HostKind::kTmpfs,
                               HostKind::kOther};

TEST(TariffTest, HostsAreToldApart) {
  EXPECT_EQ(host_kind(EXT4_SUPER_MAGIC), HostKind::kExt4);
  EXPECT_EQ(host_kind(0x58465342), HostKind::kXfs);
  EXPECT_EQ(host_kind(BTRFS_SUPER_MAGIC), HostKind::kBtrfs);
  EXPECT_EQ(host_kind(TMPFS_MAGIC), HostKind::kTmpfs);
  EXPECT_EQ(host_kind(NFS_SUPER_MAGIC), HostKind::kOther);
  EXPECT_EQ(host_kind_of(-1), HostKind::kOther);
}

/// What each took when it was measured, an object on average of thousands: bytes of the host's free space,
/// all copies of btrfs counted.
struct Measured {
  HostKind kind;
  const char* what;
  std::uint64_t taken;
  std::uint64_t charged;
};

TEST(TariffTest, NothingTakesMoreThanItIsCharged) {
  const Tariff ext4(HostKind::kExt4);
  const Tariff xfs(HostKind::kXfs);
  const Tariff btrfs(HostKind::kBtrfs);
  const Tariff tmpfs(HostKind::kTmpfs);
  const auto empty = object(S_IFREG, 0, 1);
  const auto one_block = object(S_IFREG, 8, 1, 4096);
  const auto inlined = object(S_IFREG, 8, 1, 2000);
  const auto symlink = object(S_IFLNK, 8, 1, 3000);
  const auto more_names = [&](const Tariff& charge, std::size_t bytes) {
    return charge.object(object(S_IFREG, 0, 2)) - charge.object(empty) + charge.name_in_directory(bytes);
  };
  const Measured measured[] = {
      {HostKind::kExt4, "a directory", 4096, ext4.object(object(S_IFDIR, 8, 2, 4096))},
      {HostKind::kExt4, "a file of a block", 4096, ext4.object(one_block)},
      {HostKind::kXfs, "an empty file", 512, xfs.object(empty)},
      {HostKind::kXfs, "a file of a block", 4608, xfs.object(one_block)},
      {HostKind::kBtrfs, "an empty file", 734, btrfs.object(empty) + btrfs.name_in_directory(5)},
      {HostKind::kBtrfs, "a long name", 2484, btrfs.object(empty) + btrfs.name_in_directory(255)},
      {HostKind::kBtrfs, "a file of 2000 bytes", 5151, btrfs.object(inlined)},
      {HostKind::kBtrfs, "a file of a block", 5387, btrfs.object(one_block)},
      {HostKind::kBtrfs, "a symlink of 3000 bytes", 7602, btrfs.object(symlink)},
      {HostKind::kBtrfs, "a directory", 741, btrfs.object(object(S_IFDIR, 0, 1))},
      {HostKind::kBtrfs, "a link", 390, more_names(btrfs, 8)},
      {HostKind::kBtrfs, "a link of a long name", 2230, more_names(btrfs, 255)},
      {HostKind::kBtrfs, "a small attribute", 230, btrfs.attribute("user.a", 1)},
      {HostKind::kBtrfs, "an attribute", 2458, btrfs.attribute("trusted.nm17", 1000)},
      {HostKind::kBtrfs, "a fifth of a leaf", 7962, btrfs.attribute("trusted.a", 3000)},
      {HostKind::kBtrfs, "the largest attribute", 65012, btrfs.attribute("trusted.a", 16000)},
      {HostKind::kBtrfs, "blocks far apart", 4440U * 2000,
       btrfs.object(object(S_IFREG, 8 * 2000, 1, 1 << 30))},
      {HostKind::kTmpfs, "an empty file", 1024, tmpfs.object(empty)},
      {HostKind::kTmpfs, "a directory", 1024, tmpfs.object(object(S_IFDIR, 0, 2))},
      {HostKind::kTmpfs, "a link", 1024, more_names(tmpfs, 255)},
      {HostKind::kTmpfs, "a small attribute", 51, tmpfs.attribute("trusted.a", 1)},
      {HostKind::kTmpfs, "the largest attribute", 65585, tmpfs.attribute("trusted.a", 65536)},
  };
  for (const auto& [kind, what, taken, charged] : measured) {
    EXPECT_LE(taken, charged) << what << " on " << static_cast<int>(kind);
    EXPECT_LE(charged, taken * 11 / 4 + 512)
        << what << " on " << static_cast<int>(kind) << " is charged too much";
  }
}

TEST(TariffTest, WhatIsHadLeftIsEnough) {
  for (const auto kind : kKinds) {
    const Tariff charge(kind);
    for (const std::size_t name : {1U, 100U, 255U}) {
      // A new file; a directory or a long symlink with a block of its own; and a directory that grows by one.
      const auto grown = charge.name_in_directory(name);
      EXPECT_GE(charge.for_object(name), charge.object(object(S_IFREG, 0, 1)) + grown);
      EXPECT_GE(charge.for_name(name),
                charge.object(object(S_IFREG, 0, 9)) - charge.object(object(S_IFREG, 0, 8)) + grown);
      EXPECT_GE(charge.for_name(name), charge.whiteout() + grown);
    }
    for (const std::size_t value : {0U, 100U, 4096U, 65536U}) {
      EXPECT_GE(charge.for_attribute("user.name", value), charge.attribute("user.name", value));
    }
    EXPECT_GE(charge.for_data(1 << 20), 1U << 20);
  }
  EXPECT_GE(Tariff(HostKind::kXfs).for_attribute("user.a", 65536), 73728U) << "as measured";
}

TEST(TariffTest, NameByNameIsWhatTheWholeDirectoryIsCharged) {
  const Tariff btrfs(HostKind::kBtrfs);
  const auto empty = btrfs.object(object(S_IFDIR, 0, 1, 0));
  // st_size counts each name twice.
  EXPECT_EQ(btrfs.object(object(S_IFDIR, 0, 1, 2 * (7 + 255))),
            empty + btrfs.name_in_directory(7) + btrfs.name_in_directory(255));
}

TEST(TariffTest, AFileThatOnlyTheClientHoldsIsCharged) {
  for (const auto kind : kKinds) {
    const Tariff charge(kind);
    EXPECT_EQ(charge.object(object(S_IFREG, 8, 0, 4096)), charge.object(object(S_IFREG, 8, 1, 4096)));
  }
}

TEST(TariffTest, TheRootIsFreeForABlock) {
  for (const auto kind : kKinds) {
    const Tariff charge(kind);
    EXPECT_EQ(charge.root(object(S_IFDIR, kind == HostKind::kExt4 ? 8 : 0, 2)), 0U);
    EXPECT_EQ(charge.root(object(S_IFDIR, 80, 2)), charge.object(object(S_IFDIR, 80, 2)) - 8192);
  }
}

/// As mkfs.xfs -i size=2048 and mkfs.ext4 -O bigalloc -C 65536 make them.
TEST(TariffTest, GoesByWhatTheFileSystemWasMadeWith) {
  const Tariff large_inodes(HostKind::kXfs, {.inode_bytes = 2048});
  EXPECT_EQ(large_inodes.object(object(S_IFREG, 8, 1)), 4096U + 2048U);
  constexpr std::uint64_t kUnit = 65536;
  const Tariff clusters(HostKind::kExt4, {.unit_bytes = kUnit});
  EXPECT_GE(clusters.for_name(3), kUnit) << "a directory grows by that";
  EXPECT_GE(clusters.for_object(3), kUnit);
  EXPECT_FALSE(clusters.changes_late(3 * kUnit));
  EXPECT_EQ(clusters.late_growth(4 * kUnit), kUnit) << "a block of extents takes that";
}

/// Only then are files listed, and looked at again.
TEST(TariffTest, FilesThatTheInodeHasRoomForChangeNoMore) {
  constexpr std::uint64_t kBlock = 4096;
  for (const HostKind kind : {HostKind::kExt4, HostKind::kXfs}) {
    const Tariff tariff(kind);
    EXPECT_FALSE(tariff.changes_late(3 * kBlock));
    EXPECT_EQ(tariff.late_growth(3 * kBlock), 0U);
    EXPECT_TRUE(tariff.changes_late(4 * kBlock));
    EXPECT_EQ(tariff.late_growth(4 * kBlock), kBlock);
    EXPECT_GE(tariff.late_growth(10'000 * kBlock), 2 * (10'000 / 340) * kBlock) << "each leaf half full";
  }
  constexpr std::uint64_t kSmallBlock = 1024;  // of a small ext4
  const Tariff small(HostKind::kExt4, {.block_bytes = kSmallBlock});
  EXPECT_FALSE(small.changes_late(3 * kSmallBlock));
  EXPECT_TRUE(small.changes_late(5 * kSmallBlock)) << "a block of each may be an extent";
  EXPECT_EQ(small.late_growth(5 * kSmallBlock), kSmallBlock);
  EXPECT_GE(small.late_growth(10'000 * kSmallBlock), 2 * (10'000 / 84) * kSmallBlock);
  EXPECT_FALSE(Tariff(HostKind::kTmpfs).changes_late(1000 * kBlock));
  EXPECT_TRUE(Tariff(HostKind::kBtrfs).changes_late(kBlock));
  EXPECT_EQ(Tariff(HostKind::kBtrfs).late_growth(1000 * kBlock), 0U) << "is charged before";
  EXPECT_GT(Tariff(HostKind::kOther).late_growth(kBlock), 0U);
}

}  // namespace
}  // namespace layerboot::overlay
