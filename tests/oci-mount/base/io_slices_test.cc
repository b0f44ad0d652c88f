#include "oci-mount/base/io_slices.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>

#include "oci-mount/base/bytes.h"

namespace layerboot {
namespace {

struct Scattered {
  std::string a = std::string(3, '.');
  std::string b = std::string(1, '.');
  std::string c = std::string(5, '.');
  std::vector<iovec> slices{{a.data(), 3}, {nullptr, 0}, {b.data(), 1}, {c.data(), 5}};

  [[nodiscard]] std::string text() const { return a + b + c; }
};

TEST(IoSlices, TotalsTheLengths) { EXPECT_EQ(total_bytes(Scattered().slices), 9U); }

TEST(IoSlices, CopiesAcrossSlicesFromAnOffset) {
  Scattered into;
  EXPECT_EQ(copy_into_slices(into.slices, 2, as_bytes("12345")), 5U);
  EXPECT_EQ(into.text(), "..12345..");
}

TEST(IoSlices, StopsAtTheListsEnd) {
  Scattered into;
  EXPECT_EQ(copy_into_slices(into.slices, 7, as_bytes("12345")), 2U);
  EXPECT_EQ(into.text(), ".......12");
  EXPECT_EQ(copy_into_slices(into.slices, 9, as_bytes("x")), 0U);
  EXPECT_EQ(copy_into_slices(into.slices, 100, as_bytes("x")), 0U);
}

TEST(IoSlices, CopiesBackOut) {
  Scattered from;
  copy_into_slices(from.slices, 0, as_bytes("abcdefghi"));
  std::string out(6, '.');
  EXPECT_EQ(copy_from_slices(from.slices, 1, std::as_writable_bytes(std::span(out))), 6U);
  EXPECT_EQ(out, "bcdefg");
}

TEST(IoSlices, SubRangeIsTheSameBytes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  Scattered from;
  copy_into_slices(from.slices, 0, as_bytes("abcdefghi"));
  for (int round = 0; round < 200; ++round) {
    const std::size_t offset = random() % 11;
    const std::size_t length = random() % 11;
    const auto part = sub_slices(from.slices, offset, length);
    const std::string expected = offset > 9 ? "" : std::string("abcdefghi").substr(offset, length);
    std::string got(total_bytes(part), '.');
    copy_from_slices(part, 0, std::as_writable_bytes(std::span(got)));
    EXPECT_EQ(got, expected) << offset << "+" << length;
  }
}

}  // namespace
}  // namespace layerboot
