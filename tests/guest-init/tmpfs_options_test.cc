#include "guest-init/tmpfs_options.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace guest_init {
namespace {

TEST(TmpfsOptions, AreDockersUnlessToldOtherwise) {
  const TmpfsOptions plain = parse_tmpfs_options("");
  EXPECT_EQ(plain.flags, MS_NOEXEC | MS_NOSUID | MS_NODEV);
  EXPECT_EQ(plain.data, "mode=1777");
  const TmpfsOptions given = parse_tmpfs_options("rw,exec,size=64m,,mode=0700,noatime");
  EXPECT_EQ(given.flags, MS_NOSUID | MS_NODEV | MS_NOATIME);
  EXPECT_EQ(given.data, "size=64m,mode=0700");
  EXPECT_NE(parse_tmpfs_options("ro").flags & MS_RDONLY, 0U);
}

}  // namespace
}  // namespace guest_init
