#include "oci-mount/base/mount_list.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

TEST(MountListTest, ReadsWhatAContainerHas) {
  const auto mounts = parse_mount_list(
      "640 500 0:50 / / ro,relatime master:1 - overlay overlay rw,lowerdir=/a\n"
      "641 640 0:53 / /proc rw,nosuid - proc proc rw\n"
      "660 640 8:1 /home/u /my\\040data rw,relatime shared:7 master:2 - ext4 /dev/sda1 rw\n"
      "661 640 0:60 / /scratch rw,nosuid - tmpfs tmpfs rw,size=64k\n"
      "662 640 0:61 / /hidden rw unbindable - tmpfs tmpfs rw\n");
  ASSERT_EQ(mounts.size(), 5U);
  EXPECT_EQ(mounts[0], (MountPoint{.path = "/", .type = "overlay", .read_only = true}));
  EXPECT_EQ(mounts[2], (MountPoint{.path = "/my data", .type = "ext4", .read_only = false}));
  EXPECT_EQ(mounts[3], (MountPoint{.path = "/scratch", .type = "tmpfs", .read_only = false}));
  EXPECT_EQ(mounts[4], (MountPoint{.path = "/hidden", .type = "tmpfs", .unbindable = true}));
}

TEST(MountListTest, LeavesOutWhatIsNoLine) {
  EXPECT_TRUE(parse_mount_list("").empty());
  EXPECT_TRUE(
      parse_mount_list("\n1 2 3\n1 2 3:4 / /x rw ext4 /dev/sda rw\n1 2 3:4 / relative rw - a b c\n").empty());
}

}  // namespace
}  // namespace layerboot
