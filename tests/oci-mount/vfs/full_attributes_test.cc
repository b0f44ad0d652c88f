// Objects whose attributes leave no room on the host for one more: ext4 has a block for each, and the inode.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

class FullAttributesTest : public WritableFsTest {
 protected:
  void SetUp() override {
    WritableFsTest::SetUp();
    if (tariff().kind() == overlay::HostKind::kBtrfs)
      GTEST_SKIP() << "btrfs has room for as many as one likes";
    ASSERT_EQ(drive().create("large", ""), 0);
    if (drive().setxattr("large", "user.all", std::string(60'000, 'a')) == 0) {
      GTEST_SKIP() << "this host has room for attributes of any size (" << temp_parent() << ")";
    }
  }
  /// Until not even one without a value has room.
  void fill_attributes(const std::string& path) {
    std::size_t bytes = 4096;
    while (drive().setxattr(path, "user.large", std::string(bytes, 'a')) != 0) ASSERT_GT(bytes -= 16, 0U);
    int small = 0;
    while (drive().setxattr(path, "user." + std::to_string(small), "") == 0) ASSERT_LT(++small, 64);
    ASSERT_NE(drive().setxattr(path, "user.last", ""), 0) << path << " has room for more";
    large_bytes_ = bytes;
  }
  void expect_full(const std::string& path) {
    EXPECT_EQ(xattr(path, "user.large"), std::string(large_bytes_, 'a')) << path;
  }
  bool is_metacopy(const std::string& path) { return host_xattr(upper(path), marks().metacopy).empty(); }

 private:
  std::size_t large_bytes_ = 0;
};

TEST_F(FullAttributesTest, AFileMovesWithItsData) {
  fill_attributes("etc/big");
  ASSERT_TRUE(is_metacopy("etc/big"));
  EXPECT_EQ(drive().rename("etc/big", "deep/moved"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(drive().read("deep/moved") == lower_big());
    EXPECT_TRUE(drive().read("etc/big").starts_with("error"));
    expect_full("deep/moved");
    restart();
  }
}

TEST_F(FullAttributesTest, OneThatIsReplacedStaysUntilThen) {
  fill_attributes("etc/small");
  ASSERT_EQ(drive().create("own", "own"), 0);
  EXPECT_EQ(drive().rename("etc/small", "own", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(drive().rename("etc/small", "own"), 0);
  EXPECT_EQ(drive().read("own"), lower_small());
  expect_full("own");
}

TEST_F(FullAttributesTest, TwoExchangeTheirNames) {
  fill_attributes("etc/small");
  fill_attributes("links/a");
  EXPECT_EQ(drive().rename("etc/small", "links/a", RENAME_EXCHANGE), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(drive().read("links/a"), lower_small());
    EXPECT_EQ(drive().read("etc/small"), "hard-linked");
    EXPECT_EQ(drive().read("links2/c"), "hard-linked");
    restart();
  }
}

TEST_F(FullAttributesTest, AFileTakesFurtherNames) {
  fill_attributes("etc/big");
  EXPECT_EQ(drive().link("etc/big", "deep/backup"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(drive().read("deep/backup") == lower_big());
    EXPECT_EQ(drive().attr("etc/big").ino, drive().attr("deep/backup").ino);
    EXPECT_EQ(drive().attr("etc/big").nlink, 2U);
    expect_full("deep/backup");
    restart();
  }
}

TEST_F(FullAttributesTest, AFileLeavesADevice) {
  fill_attributes("etc/small");
  EXPECT_EQ(drive().rename("etc/small", "moved", RENAME_WHITEOUT), 0);
  EXPECT_EQ(drive().read("moved"), lower_small());
  EXPECT_TRUE(S_ISCHR(drive().attr("etc/small").mode));
}

// Without room for its data there is none for a redirect either.
TEST_F(FullAttributesTest, WithoutRoomForItsDataAFileStays) {
  open_writable(1 << 20, kTestQuotaInodes);
  fill_attributes("etc/big");
  EXPECT_EQ(drive().rename("etc/big", "moved"), ENOSPC);
  EXPECT_EQ(drive().link("etc/big", "moved"), ENOSPC);
  EXPECT_TRUE(is_metacopy("etc/big"));
  EXPECT_TRUE(drive().read("etc/big") == lower_big());
  EXPECT_TRUE(drive().read("moved").starts_with("error"));
  restart();
}

// As overlayfs: mv(1) copies it then.
TEST_F(FullAttributesTest, ADirectoryOfTheImageIsOnAnotherDevice) {
  fill_attributes("deep");
  EXPECT_EQ(drive().rename("deep", "moved"), EXDEV);
  EXPECT_EQ(drive().rename("deep", "etc", RENAME_EXCHANGE), EXDEV);
  EXPECT_EQ(drive().rename("etc", "deep", RENAME_EXCHANGE), EXDEV);
  EXPECT_EQ(drive().read("deep/er/est/file"), "far down");
  EXPECT_EQ(drive().read("etc/small"), lower_small());
  EXPECT_EQ(drive().removexattr("deep", "user.large"), 0);
  EXPECT_EQ(drive().rename("deep", "moved"), 0);
  EXPECT_EQ(drive().read("moved/er/est/file"), "far down");
}

TEST_F(FullAttributesTest, OneThatWouldHideTheImagesToo) {
  ASSERT_EQ(drive().mkdir("own"), 0);
  ASSERT_EQ(drive().create("own/file", "own"), 0);
  fill_attributes("own");
  EXPECT_EQ(drive().rename("own", "elsewhere"), 0) << "where the image has nothing";
  ASSERT_EQ(drive().rename("deep", "away"), 0);
  EXPECT_EQ(drive().rename("elsewhere", "deep"), EXDEV);
  EXPECT_EQ(drive().read("elsewhere/file"), "own");
  ASSERT_EQ(drive().mkdir("new"), 0);
  fill_attributes("empty");
  EXPECT_EQ(drive().rename("new", "empty"), EXDEV) << "an empty one that is replaced is opaque first";
  EXPECT_EQ(drive().rmdir("empty"), 0);
  EXPECT_EQ(drive().rename("new", "empty"), 0);
}

}  // namespace
}  // namespace layerboot::test
