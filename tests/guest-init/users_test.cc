#include "guest-init/users.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
    "broken line\n"
    "bad:x:nan:1::/:\n"
    "web:x:33:34:web:/var/www:/bin/sh\n"
    "4000:x:12:13::/tricky:/bin/sh";
constexpr std::string_view kGroup =
    "root:x:0:\n"
    "www:x:34:\n"
    "docker:x:999:someone,web\n"
    "broken\n"
    "audio:x:29:web\n"
    "webmaster:x:77:webmaster";

Identity find(std::string_view spec) {
  Identity identity;
  std::string why;
  EXPECT_TRUE(find_identity(spec, kPasswd, kGroup, identity, why)) << why;
  return identity;
}

std::string refusal(std::string_view spec) {
  Identity identity;
  std::string why;
  EXPECT_FALSE(find_identity(spec, kPasswd, kGroup, identity, why));
  return why;
}

TEST(FindIdentity, NoUserIsRoot) {
  const Identity root = find("");
  EXPECT_EQ(root.uid, 0U);
  EXPECT_EQ(root.gid, 0U);
  EXPECT_EQ(root.home, "/root");
}

TEST(FindIdentity, ANameBringsItsGroups) {
  const Identity web = find("web");
  EXPECT_EQ(web.uid, 33U);
  EXPECT_EQ(web.gid, 34U);
  EXPECT_EQ(web.groups, (std::vector<gid_t>{999, 29}));
  EXPECT_EQ(web.home, "/var/www");
}

TEST(FindIdentity, ANumberNeedsNoEntry) {
  const Identity foreign = find("12345");
  EXPECT_EQ(foreign.uid, 12345U);
  EXPECT_EQ(foreign.gid, 0U);
  EXPECT_EQ(foreign.home, "/");
  EXPECT_EQ(find("33").home, "/var/www");
  EXPECT_EQ(find("4000").uid, 4000U) << "a number is never a name";
}

TEST(FindIdentity, AGroupOfItsOwnReplacesTheOthers) {
  const Identity mixed = find("web:docker");
  EXPECT_EQ(mixed.gid, 999U);
  EXPECT_TRUE(mixed.groups.empty());
  EXPECT_EQ(find("1000:1001").gid, 1001U);
}

TEST(FindIdentity, WhatIsNotThereIsNamed) {
  EXPECT_NE(refusal("nobody").find("'nobody'"), std::string::npos);
  EXPECT_NE(refusal("web:staff").find("'staff'"), std::string::npos);
  EXPECT_NE(refusal("bad").find("'bad'"), std::string::npos);
  EXPECT_NE(refusal("4294967295").find("4294967295"), std::string::npos);
  EXPECT_NE(refusal("99999999999").find("99999999999"), std::string::npos);
}

TEST(FindIdentity, AnImageWithoutThoseFilesHasRoot) {
  Identity identity;
  std::string why;
  EXPECT_TRUE(find_identity("", "", "", identity, why));
  EXPECT_EQ(identity.uid, 0U);
  EXPECT_EQ(identity.home, "/root");
}

}  // namespace
}  // namespace guest_init
