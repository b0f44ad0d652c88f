#include "oci-mount/base/id_map.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

TEST(IdMap, WithoutOneEverybodyIsHimself) {
  const IdMap map;
  for (const std::uint32_t id : {0U, 1000U, 65534U, ~0U - 1}) {
    EXPECT_EQ(map.users.to_host(id).value_or(7), id);
    EXPECT_EQ(map.groups.to_guest(id), id);
  }
  EXPECT_FALSE(map.users.to_host(~0U));
}

TEST(IdMap, TheGuestsRootIsSomebodyHere) {
  const auto map = parse_id_map("1000:1001");
  ASSERT_TRUE(map) << map.error().describe();
  EXPECT_EQ(map->users.to_host(0).value_or(7), 1000U);
  EXPECT_EQ(map->groups.to_host(0).value_or(7), 1001U);
  EXPECT_EQ(map->users.to_guest(1000), 0U);
  EXPECT_EQ(map->users.to_guest(0), IdRanges::kNobody);
  EXPECT_EQ(map->users.to_guest(1001), IdRanges::kNobody);
  EXPECT_FALSE(map->users.knows_host(1001));
  EXPECT_EQ(map->users.to_host(1).error().code, EOVERFLOW);
}

TEST(IdMap, Ranges) {
  const auto map = parse_id_map("0-1000-1+1-100000-65535");
  ASSERT_TRUE(map) << map.error().describe();
  EXPECT_EQ(map->users.to_host(33).value_or(7), 100032U);
  EXPECT_EQ(map->groups.to_guest(165534), 65535U);
  EXPECT_FALSE(map->users.to_host(65536));
  EXPECT_TRUE(map->groups == map->users) << "one for both";
  EXPECT_FALSE(parse_id_map("5:0-1-2")->users == parse_id_map("5:0-1-2")->groups);
}

TEST(IdMap, RefusesWhatIsNone) {
  for (const char* text : {"", ":", "1000:", ":1000", "x", "-1", "1-2", "1-2-", "1-2-3-4", "0-0-0",
                           "1000:1000:1000", "0-5-1+0-6-1", "0-5-10+10-14-1", "4294967295", "1-0-4294967295",
                           "0-1000-1+", "+0-1000-1", " 1000", "1000 "}) {
    const auto map = parse_id_map(text);
    EXPECT_FALSE(map) << text;
    const std::string said = map ? "" : map.error().text;
    EXPECT_NE(said.find("GUEST-HOST-COUNT"), std::string::npos) << said;
  }
  std::string many = "0-0-1";
  for (std::uint32_t i = 1; i <= IdRanges::kMaxRanges; ++i) many += str_cat('+', i, '-', i, "-1");
  EXPECT_FALSE(parse_id_map(many));
}

}  // namespace
}  // namespace layerboot
