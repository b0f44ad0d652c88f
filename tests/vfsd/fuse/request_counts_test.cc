#include "vfsd/fuse/request_counts.h"

#include <gtest/gtest.h>

#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {
namespace {

TEST(RequestCounts, NamesTheMostFrequentFirst) {
  RequestCounts counts;
  EXPECT_EQ(counts.describe(), "");
  counts.add(FUSE_LOOKUP);
  for (int i = 0; i < 3; ++i) counts.add(FUSE_READ);
  counts.add(FUSE_GETATTR);
  EXPECT_EQ(counts.describe(), "READ 3, LOOKUP 1, GETATTR 1");
  EXPECT_EQ(counts.total(), 5U);
  EXPECT_EQ(counts.of(FUSE_READ), 3U);
}

TEST(RequestCounts, AnyOpcodeIsCountedSomewhere) {
  RequestCounts counts;
  counts.add(0xffffffffU);
  counts.add(4096);  // CUSE_INIT
  counts.add(60);
  EXPECT_EQ(counts.describe(), "other 2, opcode 60 1");
}

TEST(RequestCounts, AddsUp) {
  RequestCounts sum;
  RequestCounts one;
  sum.add(FUSE_WRITE);
  one.add(FUSE_WRITE);
  one.add(FUSE_FSYNC);
  sum.add_all(one);
  EXPECT_EQ(sum.describe(), "WRITE 2, FSYNC 1");
}

TEST(RequestCounts, KnowsTheOpcodesOfTheHeader) {
  EXPECT_EQ(opcode_name(FUSE_READDIRPLUS), "READDIRPLUS");
  EXPECT_EQ(opcode_name(kOpStatx), "STATX");
  EXPECT_EQ(opcode_name(kOpCopyFileRange64), "COPY_FILE_RANGE_64");
  EXPECT_EQ(opcode_name(7), "opcode 7");
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
