#include "vfsd/fuse/dirents.h"

#include <gtest/gtest.h>

#include "oci-mount/base/bytes.h"

namespace layerboot::vfsd::fuse {
namespace {

TEST(DirentPacker, ZeroesThePadding) {
  std::vector<std::byte> page(4096, std::byte{0xff});
  DirentPacker packer(page, 4096, false);
  ASSERT_TRUE(packer.add({.name = "abc", .ino = 7, .type = 4, .next_cookie = 9}, {}));
  ASSERT_EQ(page.size(), FUSE_DIRENT_ALIGN(sizeof(fuse_dirent) + 3));
  ByteReader reader(page);
  const auto dirent = reader.read<fuse_dirent>();
  EXPECT_EQ(dirent.ino, 7U);
  EXPECT_EQ(dirent.off, 9U);
  EXPECT_EQ(dirent.type, 4U);
  EXPECT_EQ(as_text(reader.take(dirent.namelen)), "abc");
  for (const auto byte : reader.rest()) EXPECT_EQ(byte, std::byte{0});
}

TEST(DirentPacker, TakesExactlyWhatFits) {
  std::vector<std::byte> page;
  const std::size_t one = FUSE_DIRENT_ALIGN(sizeof(fuse_direntplus) + 1);
  DirentPacker packer(page, 2 * one, true);
  vfs::Entry entry;
  entry.id = 5;
  EXPECT_TRUE(packer.add({.name = "a"}, entry));
  EXPECT_TRUE(packer.add({.name = "b"}, entry));
  EXPECT_FALSE(packer.refused());
  EXPECT_FALSE(packer.add({.name = "c"}, entry));
  EXPECT_TRUE(packer.refused());
  EXPECT_EQ(page.size(), 2 * one);
}

TEST(DirentPacker, DotsCarryNoNode) {
  std::vector<std::byte> page;
  DirentPacker packer(page, 4096, true);
  ASSERT_TRUE(packer.add({.name = ".", .ino = 1}, {}));
  const auto plus = ByteReader(page).read<fuse_direntplus>();
  EXPECT_EQ(plus.entry_out.nodeid, 0U);
  EXPECT_EQ(plus.entry_out.entry_valid, 0U);
  EXPECT_EQ(plus.dirent.ino, 1U);
}

TEST(DirentPacker, RefusesNamesThatAreTooLong) {
  std::vector<std::byte> page;
  DirentPacker packer(page, 4096, false);
  EXPECT_FALSE(packer.add({.name = std::string(256, 'x')}, {}));
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
