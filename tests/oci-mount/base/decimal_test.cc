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

}  // namespace
}  // namespace layerboot
