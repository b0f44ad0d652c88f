#include "oci-mount/base/decimal.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

TEST(Decimal, DigitsAndNothingElse) {
  EXPECT_EQ(parse_decimal("0", 0), 0U);
  EXPECT_EQ(parse_decimal("0042", 100), 42U);
  EXPECT_EQ(parse_decimal("18446744073709551615", UINT64_MAX), UINT64_MAX);
  for (const char* text : {"", " 1", "1 ", "+1", "-1", "1x", "0x1", "18446744073709551616"})
    EXPECT_FALSE(parse_decimal(text, UINT64_MAX)) << text;
}

TEST(Decimal, NoMoreThanAskedFor) {
  EXPECT_EQ(parse_decimal("65535", 65535), 65535U);
  EXPECT_FALSE(parse_decimal("65536", 65535));
}

TEST(Decimal, OtherBasesAndSigns) {
  EXPECT_EQ(parse_whole<std::uint64_t>("ff", 16), 255U);
  EXPECT_EQ(parse_whole<std::uint32_t>("0755", 8), 0755U);
  EXPECT_EQ(parse_whole<std::int64_t>("-5"), -5);
  EXPECT_FALSE(parse_whole<std::uint64_t>("8", 8));
  EXPECT_FALSE(parse_whole<std::uint32_t>("4294967296"));
  EXPECT_FALSE(parse_whole<std::uint64_t>("-5"));
  EXPECT_FALSE(parse_whole<std::int64_t>(""));
}

}  // namespace
}  // namespace layerboot
