#include "guest-init/disk.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace guest_init {
namespace {

TEST(ExtSuperblock, OfARealFileSystem) {
  std::string pattern = (std::filesystem::temp_directory_path() / "disk_test-XXXXXX").string();
  const int fd = mkstemp(pattern.data());
  ASSERT_GE(fd, 0);
  close(fd);
  std::filesystem::resize_file(pattern, 1 << 20);
  const std::string make =
      "mke2fs -q -F -t ext4 -L the-label -U 0123abcd-4567-89ab-cdef-0123456789ab " + pattern;
  ASSERT_EQ(std::system(make.c_str()), 0);
  std::ifstream file(pattern, std::ios::binary);
  std::string bytes(2048, '\0');
  file.read(bytes.data(), 2048);
  std::filesystem::remove(pattern);
  ExtIdentity identity;
  ASSERT_TRUE(parse_ext_superblock(std::string_view(bytes).substr(1024), identity));
  EXPECT_EQ(identity.uuid, "0123abcd-4567-89ab-cdef-0123456789ab");
  EXPECT_EQ(identity.label, "the-label");
  EXPECT_EQ(parse_ext_bytes(std::string_view(bytes).substr(1024)), 1U << 20U);
}

TEST(ExtSuperblock, NothingElseIsOne) {
  ExtIdentity identity;
  EXPECT_FALSE(parse_ext_superblock("", identity));
  EXPECT_EQ(parse_ext_bytes(std::string(1024, '\0')), 0U);
  EXPECT_FALSE(parse_ext_superblock(std::string(1024, '\0'), identity));
  EXPECT_FALSE(parse_ext_superblock(std::string(1023, '\x53'), identity));
}

TEST(RootDevice, APathAndATagStayAsTheyAre) {
  EXPECT_EQ(find_root_device("/dev/vda"), "/dev/vda");
  EXPECT_EQ(find_root_device("root"), "root");
  EXPECT_EQ(find_root_device("LABEL=there is no such label"), "");
}

}  // namespace
}  // namespace guest_init
