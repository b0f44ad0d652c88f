#include "oci-mount/store/compression.h"

#include <gtest/gtest.h>

#include "tests/support/tar_builder.h"

namespace layerboot::store {
namespace {

TEST(CompressionOf, GoesByTheFirstBytes) {
  EXPECT_EQ(*compression_of(std::string_view("\x1f\x8b\x08\0", 4)), Compression::kGzip);
  EXPECT_EQ(*compression_of("\x28\xb5\x2f\xfd"), Compression::kZstd);
  EXPECT_EQ(*compression_of("\x5e\x2a\x4d\x18"), Compression::kZstd) << "a skippable frame";
  EXPECT_EQ(*compression_of(std::string_view("\xfd"
                                             "7zXZ\0",
                                             6)),
            Compression::kXz);
  EXPECT_EQ(*compression_of("BZh91AY&SY"), Compression::kBzip2);
  EXPECT_EQ(*compression_of("BZh9\x17rE8P\x90"), Compression::kBzip2) << "of no bytes";
  EXPECT_EQ(*compression_of(""), Compression::kNone);
  EXPECT_EQ(*compression_of("\x1f"), Compression::kNone);
}

TEST(CompressionOf, SaysWhatIsNotRead) {
  for (const auto& [magic, name] : {std::pair<std::string_view, std::string_view>{"LZIP\x01", "lzip"},
                                    {std::string_view("\x5d\0\0\x80\0\xff", 6), "lzma"},
                                    {"\x04\x22\x4d\x18\x64", "lz4"},
                                    {"\x1f\x9d\x90x", "compress"},
                                    {"PK\x03\x04\x14", "zip"}}) {
    const auto compression = compression_of(magic);
    ASSERT_FALSE(compression) << name;
    EXPECT_EQ(compression.error().code, ENOTSUP);
    EXPECT_NE(compression.error().text.find(name), std::string::npos);
  }
}

TEST(CompressionOf, ATarsFirstNameIsNoMagic) {
  for (const char* name : {"BZh9", "BZhello", "]", "LZIP",
                           "\xfd"
                           "7z"}) {
    const std::string tar = test::TarBuilder().file(name, "").finish();
    const auto compression = compression_of(std::string_view(tar).substr(0, kMagicBytes));
    ASSERT_TRUE(compression) << name;
    EXPECT_EQ(*compression, Compression::kNone) << name;
  }
}

}  // namespace
}  // namespace layerboot::store
