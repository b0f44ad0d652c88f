#include "oci-mount/base/mode_bits.h"

#include <dirent.h>
#include <gtest/gtest.h>

namespace layerboot {
namespace {

static_assert((kTypeBits & kPermissionBits) == 0);
static_assert((kTypeBits | kPermissionBits) == 0177777, "all that a mode has");
static_assert((kAccessBits | kSetIdBits | S_ISVTX) == kPermissionBits);
static_assert((kAccessBits & kSetIdBits) == 0);

TEST(ModeBits, TypesAreDirents) {
  for (const std::uint32_t mode : {S_IFREG | 06755U, S_IFDIR | 01777U, S_IFLNK | 0777U, S_IFIFO | 0U,
                                   S_IFCHR | 0600U, S_IFBLK | 0600U, S_IFSOCK | 07777U}) {
    EXPECT_EQ(dirent_type(mode), IFTODT(mode)) << mode;
  }
}

}  // namespace
}  // namespace layerboot
