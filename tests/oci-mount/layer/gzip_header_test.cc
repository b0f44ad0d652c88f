#include "oci-mount/layer/gzip_header.h"

#include <gtest/gtest.h>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {
namespace {

std::string header(int flags, std::string_view rest) {
  return std::string("\x08", 1) + static_cast<char>(flags) + std::string(6, '\0') + std::string(rest);
}

TEST(GzipHeader, ReadsEveryOptionalPart) {
  const std::string_view name("name\0", 5);
  const std::string_view comment("comment\0", 8);
  const std::string_view extra("\x03\0abc", 5);
  const std::vector<std::string> headers = {
      header(0, ""),
      header(1, ""),
      header(2, "cc"),
      header(4, extra),
      header(4, std::string_view("\0\0", 2)),
      header(8, name),
      header(16, comment),
      header(31, std::string(extra) + std::string(name) + std::string(comment) + "cc")};
  for (const std::string& text : headers) {
    GzipHeaderParser whole;
    const auto taken = whole.push(as_bytes(text + "deflate"));
    ASSERT_TRUE(taken);
    EXPECT_EQ(*taken, text.size());
    EXPECT_TRUE(whole.done());
    GzipHeaderParser pieces;
    for (const char& c : text) {
      EXPECT_FALSE(pieces.done());
      ASSERT_TRUE(pieces.push(as_bytes(std::string_view(&c, 1))));
    }
    EXPECT_TRUE(pieces.done());
  }
}

TEST(GzipHeader, RefusesWhatItDoesNotKnow) {
  GzipHeaderParser parser;
  EXPECT_FALSE(parser.push(as_bytes("\x09")));
  parser.reset();
  EXPECT_FALSE(parser.push(as_bytes(header(0x20, ""))));
}

// CVE-2022-37434 was a long extra field; here none is kept, and all have one bound.
TEST(GzipHeader, IsBounded) {
  GzipHeaderParser parser;
  const auto taken = parser.push(as_bytes(header(8, std::string(kMaxGzipHeaderBytes, 'n'))));
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().text.find("limit of 131072"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::layer
