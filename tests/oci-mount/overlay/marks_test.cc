#include "oci-mount/overlay/marks.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace layerboot::overlay {
namespace {

int code_of(std::string_view guest_name) {
  const auto name = host_xattr_name(Keeping::kNative, guest_name);
  return name ? 0 : name.error().code;
}

TEST(MarksTest, OtherNamesAreKeptAsTheyAre) {
  for (const char* name :
       {"user.a", "security.capability", "trusted.x", "trusted.overlay", "user.overlay.opaque",
        "user.containers.override_stat", "system.posix_acl_access", "system.posix_acl_default"}) {
    EXPECT_EQ(host_xattr_name(Keeping::kNative, name).value_or("error"), name);
    EXPECT_EQ(guest_xattr_name(Keeping::kNative, name).value_or("hidden"), name);
  }
}

TEST(MarksTest, TheGuestsOwnMarksAreEscapedHoweverDeepItNests) {
  std::string name = "trusted.overlay.opaque";
  for (int depth = 0; depth < 4; ++depth) {
    const auto host = host_xattr_name(Keeping::kNative, name);
    ASSERT_TRUE(host);
    EXPECT_NE(*host, name);
    EXPECT_EQ(guest_xattr_name(Keeping::kNative, *host).value_or("hidden"), name);
    name = *host;
  }
  EXPECT_EQ(host_xattr_name(Keeping::kNative, kNativeMarks.opaque).value_or("error"),
            "trusted.overlay.overlay.opaque");
}

TEST(MarksTest, OursAreHidden) {
  for (const auto name : {kNativeMarks.opaque, kNativeMarks.redirect, kNativeMarks.origin})
    EXPECT_FALSE(guest_xattr_name(Keeping::kNative, name)) << name;
  EXPECT_FALSE(guest_xattr_name(Keeping::kNative, "trusted.overlay.metacopy"));
  EXPECT_FALSE(guest_xattr_name(Keeping::kNative, "system.nfs4_acl"));
}

TEST(MarksTest, AnAclHasNoOtherName) {
  for (const char* name : {"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"}) {
    EXPECT_FALSE(guest_xattr_name(Keeping::kNative, name)) << name;
    EXPECT_EQ(code_of(name), EOPNOTSUPP) << name;
  }
}

// No guest name may reach one of our marks on the host.
TEST(MarksTest, NoGuestNameBecomesAMark) {
  for (const auto mark : {kNativeMarks.opaque, kNativeMarks.redirect, kNativeMarks.origin}) {
    EXPECT_NE(host_xattr_name(Keeping::kNative, mark).value_or(""), mark);
    EXPECT_NE(host_xattr_name(Keeping::kNative, str_cat("trusted.overlay.overlay.", mark)).value_or(""),
              mark);
  }
}

TEST(MarksTest, OnARecordedUpperAllButPlainUserNamesAreEscaped) {
  for (const char* name : {"user.a", "user.overlay", "user.containersx"}) {
    EXPECT_EQ(host_xattr_name(Keeping::kRecorded, name).value_or("error"), name);
    EXPECT_EQ(guest_xattr_name(Keeping::kRecorded, name).value_or("hidden"), name);
  }
  for (const char* name : {"user.overlay.opaque", "user.overlay.layerboot.origin",
                           "user.overlay.layerboot.user.overlay.opaque", "user.containers.override_stat",
                           "trusted.overlay.opaque", "security.capability", "system.posix_acl_access"}) {
    const auto host = host_xattr_name(Keeping::kRecorded, name);
    ASSERT_TRUE(host) << name;
    EXPECT_EQ(*host, str_cat("user.overlay.layerboot.", name));
    EXPECT_EQ(guest_xattr_name(Keeping::kRecorded, *host).value_or("hidden"), name);
  }
  for (const auto name : {kRecordedMarks.opaque, kRecordedMarks.redirect, kRecordedMarks.origin,
                          std::string_view("user.containers.override_stat"),
                          std::string_view("security.selinux"), std::string_view("trusted.overlay.opaque")}) {
    EXPECT_FALSE(guest_xattr_name(Keeping::kRecorded, name)) << name;
    EXPECT_NE(host_xattr_name(Keeping::kRecorded, name).value_or(""), name);
  }
}

TEST(MarksTest, BadNamesAreErrors) {
  EXPECT_EQ(code_of(""), EINVAL);
  EXPECT_EQ(code_of(std::string_view("user.\0x", 7)), EINVAL);
  EXPECT_EQ(code_of("user."), EOPNOTSUPP);
  EXPECT_EQ(code_of("nonsense"), EOPNOTSUPP);
  EXPECT_EQ(code_of("system.nfs4_acl"), EOPNOTSUPP);
  EXPECT_EQ(code_of(str_cat("user.", std::string(250, 'x'))), 0);
  EXPECT_EQ(code_of(str_cat("user.", std::string(251, 'x'))), ERANGE);
  // Escaped it would be too long for the host.
  EXPECT_EQ(code_of(str_cat("trusted.overlay.", std::string(231, 'x'))), 0);
  EXPECT_EQ(code_of(str_cat("trusted.overlay.", std::string(232, 'x'))), ERANGE);
}

TEST(MarksTest, OnlyDeviceZeroIsAWhiteout) {
  struct stat st{};
  st.st_mode = S_IFCHR | 0600;
  EXPECT_TRUE(is_whiteout(st));
  st.st_rdev = makedev(1, 3);
  EXPECT_FALSE(is_whiteout(st));
  st.st_rdev = 0;
  st.st_mode = S_IFBLK | 0600;
  EXPECT_FALSE(is_whiteout(st));
}

}  // namespace
}  // namespace layerboot::overlay
