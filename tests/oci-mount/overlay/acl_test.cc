// ACLs: which bytes are one, and what becomes of them as modes change, as fs/posix_acl.c of Linux has it.
#include "oci-mount/overlay/acl.h"

#include <gtest/gtest.h>

#include "tests/support/acl_text.h"

namespace layerboot::overlay {
namespace {

using test::acl_text;
using test::AclEntry;

constexpr std::uint32_t kAnyone = ~0U;

std::string named(std::uint16_t owner, std::uint16_t user, std::uint16_t group, std::uint16_t mask,
                  std::uint16_t other) {
  return acl_text({{0x01, owner, kAnyone},
                   {0x02, user, 7},
                   {0x04, group, kAnyone},
                   {0x10, mask, kAnyone},
                   {0x20, other, kAnyone}});
}

TEST(AclTest, GivesBackTheBytesThatItWasMadeOf) {
  const auto minimal = acl_text({{0x01, 7, kAnyone}, {0x04, 5, kAnyone}, {0x20, 0, kAnyone}});
  for (const auto& text : {minimal, named(7, 6, 5, 6, 4)}) {
    const auto acl = Acl::parse(text);
    ASSERT_TRUE(acl);
    EXPECT_EQ(acl->text(), text);
    EXPECT_EQ(acl->is_minimal(), text == minimal);
  }
  EXPECT_EQ(Acl::parse(minimal)->permissions(), 0750U);
  EXPECT_EQ(Acl::parse(named(7, 6, 5, 2, 4))->permissions(), 0724U) << "the mask is the group's bits";
}

TEST(AclTest, WhatIsNoAclIsNone) {
  const AclEntry owner{0x01, 7, kAnyone};
  const AclEntry user{0x02, 7, 9};
  const AclEntry group{0x04, 7, kAnyone};
  const AclEntry mask{0x10, 7, kAnyone};
  const AclEntry other{0x20, 7, kAnyone};
  for (const auto& bad : std::vector<std::vector<AclEntry>>{
           {},
           {owner},
           {owner, group},
           {group, owner, other},
           {owner, owner, group, other},
           {owner, group, group, other},
           {owner, user, group, other},
           {owner, group, user, mask, other},
           {owner, group, mask, mask, other},
           {owner, group, other, other},
           {owner, group, other, mask},
           {owner, group, {0x20, 8, kAnyone}},
           {owner, group, {0x40, 7, kAnyone}},
       }) {
    EXPECT_FALSE(Acl::parse(acl_text(bad))) << bad.size();
  }
  const auto good = acl_text({owner, group, other});
  ASSERT_TRUE(Acl::parse(good));
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(Acl::parse(good.substr(0, size)));
  EXPECT_FALSE(Acl::parse(good + "x"));
  auto version = good;
  version[0] = 3;
  EXPECT_FALSE(Acl::parse(version));
}

TEST(AclTest, ChmodChangesTheMaskOrElseTheGroup) {
  auto acl = Acl::parse(named(7, 7, 7, 7, 7));
  acl->set_permissions(0640);
  EXPECT_EQ(acl->text(), named(6, 7, 7, 4, 0));
  auto minimal = Acl::parse(acl_text({{0x01, 7, kAnyone}, {0x04, 7, kAnyone}, {0x20, 7, kAnyone}}));
  minimal->set_permissions(0640);
  EXPECT_EQ(minimal->text(), acl_text({{0x01, 6, kAnyone}, {0x04, 4, kAnyone}, {0x20, 0, kAnyone}}));
}

TEST(AclTest, ANewObjectGetsWhatBothModeAndDefaultAllow) {
  auto acl = Acl::parse(named(7, 7, 7, 5, 4));
  EXPECT_EQ(acl->restrict_for_new_object(0100666), 0100644U);
  EXPECT_EQ(acl->text(), named(6, 7, 7, 4, 4)) << "a named user's entry stays, the mask bounds it";
  auto set_id = Acl::parse(named(7, 7, 7, 7, 7));
  EXPECT_EQ(set_id->restrict_for_new_object(0042755), 0042755U);
}

}  // namespace
}  // namespace layerboot::overlay
