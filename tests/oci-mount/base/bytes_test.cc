#include "oci-mount/base/bytes.h"

#include <gtest/gtest.h>

#include <array>

namespace layerboot {
namespace {

TEST(ByteReader, ReadsLittleEndianInOrder) {
  ByteReader reader(as_bytes(std::string_view("\x01\x02\x00\x03\x00\x00\x00rest", 11)));
  EXPECT_EQ(reader.read<std::uint8_t>(), 1);
  EXPECT_EQ(reader.read<std::uint16_t>(), 2);
  EXPECT_EQ(reader.read<std::uint32_t>(), 3U);
  EXPECT_EQ(as_text(reader.take(4)), "rest");
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.rest().empty());
}

TEST(ByteReader, PastTheEndGivesZeroesAndStaysBad) {
  ByteReader reader(as_bytes("abc"));
  EXPECT_EQ(reader.read<std::uint32_t>(), 0U);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.read<std::uint8_t>(), 0);
  EXPECT_TRUE(reader.take(0).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(TableAt, RefusesWhatDoesNotLieInside) {
  alignas(8) const std::array<std::byte, 64> file{};
  EXPECT_EQ(table_at<std::uint64_t>(file, 8, 7).size(), 7U);
  EXPECT_TRUE(table_at<std::uint64_t>(file, 8, 8).empty());
  EXPECT_TRUE(table_at<std::uint64_t>(file, 4, 1).empty()) << "not aligned";
  EXPECT_TRUE(table_at<std::uint64_t>(file, 72, 0).empty());
  EXPECT_TRUE(table_at<std::uint64_t>(file, 0, ~std::uint64_t{0}).empty()) << "a count that would overflow";
}

}  // namespace
}  // namespace layerboot
