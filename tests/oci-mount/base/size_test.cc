#include "oci-mount/base/size.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

TEST(ParseSize, TakesPowersOf1024) {
  EXPECT_EQ(parse_size("4096"), 4096U);
  EXPECT_EQ(parse_size("1B"), 1U);
  EXPECT_EQ(parse_size("3k"), 3U << 10U);
  EXPECT_EQ(parse_size("512M"), 512U << 20U);
  EXPECT_EQ(parse_size("4GiB"), std::uint64_t{4} << 30U);
  EXPECT_EQ(parse_size("2TB"), std::uint64_t{2} << 40U);
}

TEST(ParseSize, TakesAnyCase) {
  EXPECT_EQ(parse_size("512m"), 512U << 20U);
  EXPECT_EQ(parse_size("1g"), std::uint64_t{1} << 30U);
  EXPECT_EQ(parse_size("1gb"), std::uint64_t{1} << 30U);
  EXPECT_EQ(parse_size("1gib"), std::uint64_t{1} << 30U);
  EXPECT_EQ(parse_size("1t"), std::uint64_t{1} << 40U);
  EXPECT_EQ(parse_size("7b"), 7U);
}

TEST(ParseSize, RefusesWhatIsNone) {
  for (const char* text : {"", "0", "0G", "-1", "4 G", "G", "4X", "4Gi", "4iB", "1.5G", "0x10", "+4"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, EINVAL) << text;
  }
}

TEST(ParseSize, RefusesWhatDoesNotFit) {
  for (const char* text : {"99999999999999999999", "8388608T", "9223372036854775808"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, ERANGE) << text;
  }
  EXPECT_TRUE(parse_size("9223372036854775807"));
}

}  // namespace
}  // namespace layerboot
