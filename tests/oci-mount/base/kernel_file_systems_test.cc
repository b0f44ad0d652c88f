#include "oci-mount/base/kernel_file_systems.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mount_list.h"
#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

TEST(KernelFileSystems, ByNameAndByWhatIsThere) {
  for (const char* type : {"proc", "sysfs", "cgroup2", "debugfs"}) EXPECT_TRUE(is_kernel_file_system(type));
  for (const char* type : {"ext4", "tmpfs", "devtmpfs", "fuse.sshfs", "nfs4", ""})
    EXPECT_FALSE(is_kernel_file_system(type)) << type;
  const auto proc = open_path("/proc/self", O_PATH);
  ASSERT_TRUE(proc);
  EXPECT_TRUE(is_on_kernel_file_system(proc->get()));
  const test::TempDir dir;
  const auto plain = open_path(dir.path(), O_PATH);
  ASSERT_TRUE(plain);
  EXPECT_FALSE(is_on_kernel_file_system(plain->get()));
  EXPECT_FALSE(is_on_kernel_file_system(-1));
}

/// The two columns of the table, held against all that is mounted here.
TEST(KernelFileSystems, NameAndNumberSayTheSame) {
  const auto mounts = own_mounts();
  ASSERT_TRUE(mounts);
  for (const MountPoint& mount : *mounts) {
    const auto place = open_path(mount.path, O_PATH | O_NOFOLLOW);
    // A later mount may be on top, and say otherwise.
    const auto same_place = [&](const MountPoint& other) {
      return other.path == mount.path && &other != &mount;
    };
    if (!place || std::ranges::any_of(*mounts, same_place) || mount.type == "autofs") continue;
    EXPECT_EQ(is_on_kernel_file_system(place->get()), is_kernel_file_system(mount.type))
        << mount.path << ": " << mount.type;
  }
}

}  // namespace
}  // namespace layerboot
