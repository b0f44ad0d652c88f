#include "oci-mount/overlay/recorded_stat.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace layerboot::overlay {
namespace {

TEST(RecordedStatTest, IsWrittenAsContainersStorageWritesIt) {
  EXPECT_EQ(format_recorded_stat({.mode = S_IFREG | 0644, .uid = 0, .gid = 0, .rdev = 0}), "0:0:0644:file");
  EXPECT_EQ(format_recorded_stat({.mode = S_IFDIR | 02755, .uid = 1, .gid = 42, .rdev = 0}), "1:42:2755:dir");
  EXPECT_EQ(format_recorded_stat({.mode = S_IFCHR | 0620, .uid = 0, .gid = 5, .rdev = 0x8800}),
            "0:5:0620:char-136-0");
  EXPECT_EQ(format_recorded_stat({.mode = S_IFCHR, .uid = 0, .gid = 0, .rdev = 0}), "0:0:0000:char-0-0");
}

TEST(RecordedStatTest, EveryKindRoundTrips) {
  for (const unsigned type : {0100000U, 0040000U, 0120000U, 0010000U, 0140000U, 0020000U, 0060000U}) {
    for (const std::uint32_t permissions : {0U, 0644U, 07777U}) {
      const bool is_device = S_ISCHR(type) || S_ISBLK(type);
      const RecordedStat stat{
          .mode = type | permissions, .uid = ~0U - 1, .gid = 65534, .rdev = is_device ? 0xfff008ffU : 0};
      const auto text = format_recorded_stat(stat);
      const auto parsed = parse_recorded_stat(text);
      ASSERT_TRUE(parsed) << text;
      EXPECT_EQ(*parsed, stat) << text;
    }
  }
  EXPECT_EQ(parse_recorded_stat("3:4:755")->mode, S_IFREG | 0755U);
}

TEST(RecordedStatTest, OtherTextIsNone) {
  for (const char* bad :
       {"", "0", "0:0", "0:0:", ":0:0644", "0:0:0644:", "0:0:0644:thing", "-1:0:0644:file", "0:0:0984:file",
        "0:0:0644:char", "0:0:0644:char-", "0:0:0644:char-1", "0:0:0644:char-1-", "0:0:0644:char-1-2x",
        "0:0:0644:file:", "4294967296:0:0644:file", "0:0:0644 :file"}) {
    EXPECT_FALSE(parse_recorded_stat(bad)) << bad;
  }
}

}  // namespace
}  // namespace layerboot::overlay
