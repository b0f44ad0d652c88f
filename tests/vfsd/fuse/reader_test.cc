#include "vfsd/fuse/reader.h"

#include <gtest/gtest.h>

#include "oci-mount/base/bytes.h"

namespace layerboot::vfsd::fuse {
namespace {

TEST(BodyReader, TakesStructuresAndStrings) {
  using namespace std::string_view_literals;
  BodyReader body(as_bytes("\x01\x00\x00\x00name\0tail"sv));
  EXPECT_EQ(body.take<std::uint32_t>(), 1U);
  EXPECT_EQ(body.take_string(10), "name");
  EXPECT_EQ(body.rest_bytes(), 4U);
  EXPECT_FALSE(body.done());
  EXPECT_EQ(body.take_bytes(4), "tail");
  EXPECT_TRUE(body.done());
}

TEST(BodyReader, FailsForGood) {
  using namespace std::string_view_literals;
  BodyReader body(as_bytes("ab\0cd\0"sv));
  EXPECT_EQ(body.take<std::uint64_t>(), 0U);
  EXPECT_FALSE(body.ok());
  EXPECT_EQ(body.take_string(10), "");
  EXPECT_EQ(body.take_bytes(1), "");
}

TEST(BodyReader, RefusesBadStrings) {
  using namespace std::string_view_literals;
  EXPECT_EQ(BodyReader(as_bytes("endless"sv)).take_string(100), "");
  EXPECT_EQ(BodyReader(as_bytes("\0"sv)).take_string(100), "");
  BodyReader longer(as_bytes("12345\0"sv));
  EXPECT_EQ(longer.take_string(4), "");
  EXPECT_FALSE(longer.ok());
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
