#include "oci-mount/store/tar_extensions.h"

#include <gtest/gtest.h>

#include "tests/support/tar_builder.h"

namespace layerboot::store {
namespace {

TarHeader header_of(char type, std::int64_t size_bytes) {
  TarHeader header;
  header.type = type;
  header.size_bytes = size_bytes;
  return header;
}

TEST(TarExtensions, SayTheirPartOfOneMemberOnly) {
  TarExtensions extensions;
  EXPECT_FALSE(extensions.pending());
  ASSERT_TRUE(extensions.add('L', std::string_view("long/name\0rest", 14)));
  ASSERT_TRUE(extensions.add('K', "target"));
  ASSERT_TRUE(extensions.add('x', test::pax_record("size", "7")));
  EXPECT_TRUE(extensions.pending());
  TarHeader header = header_of('0', 1);
  header.name = "short";
  header.link = "other";
  extensions.complete(header);
  EXPECT_EQ(header.name, "long/name");
  EXPECT_EQ(header.link, "target");
  EXPECT_EQ(header.size_bytes, 7);
  EXPECT_FALSE(extensions.pending());

  TarHeader next = header_of('0', 2);
  next.name = "next";
  extensions.complete(next);
  EXPECT_EQ(next.name, "next");
  EXPECT_EQ(next.size_bytes, 2);
}

TEST(TarExtensions, GlobalRecordsAreCheckedAndForgotten) {
  TarExtensions extensions;
  ASSERT_TRUE(extensions.add('g', test::pax_record("path", "everything")));
  EXPECT_FALSE(extensions.pending());
  TarHeader header;
  header.name = "own";
  extensions.complete(header);
  EXPECT_EQ(header.name, "own");
  EXPECT_FALSE(extensions.add('g', "no record"));
}

TEST(TarExtensions, TextIsBounded) {
  TarHeader header = header_of('x', kMaxExtendedHeaderBytes);
  EXPECT_EQ(TarExtensions::text_bytes(header).value_or(0), kMaxExtendedHeaderBytes);
  ++header.size_bytes;
  EXPECT_FALSE(TarExtensions::text_bytes(header));
  header.size_bytes = -1;
  EXPECT_FALSE(TarExtensions::text_bytes(header));
}

TEST(TarDataBytes, AreNoneForATypeThatIsAHeaderOnly) {
  for (const char type : {'1', '2', '3', '4', '5', '6'})
    EXPECT_EQ(tar_data_bytes(header_of(type, 9)).value_or(1), 0U) << type;
  for (const char type : {'0', '\0', '7'})
    EXPECT_EQ(tar_data_bytes(header_of(type, 9)).value_or(0), 9U) << type;
}

}  // namespace
}  // namespace layerboot::store
