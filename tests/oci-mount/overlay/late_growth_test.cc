#include "oci-mount/overlay/late_growth.h"
#include "oci-mount/base/sanitizers.h"

#include <gtest/gtest.h>
#include <malloc.h>

namespace layerboot::overlay {
namespace {

TEST(LateGrowth, GivesBackWhatWasBookedOnce) {
  LateGrowth late;
  EXPECT_FALSE(late.take(7));
  late.remember(7, {.charged_bytes = 4096, .late_bytes = 100});
  late.remember(7, {.charged_bytes = 8192, .late_bytes = 200});
  EXPECT_FALSE(late.has_forgotten());
  EXPECT_EQ(late.late_bytes(), 200U);
  const auto taken = late.take(7);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->charged_bytes, 8192U);
  EXPECT_EQ(taken->late_bytes, 200U);
  EXPECT_FALSE(late.take(7));
  EXPECT_EQ(late.late_bytes(), 0U);
}

TEST(LateGrowth, KnowsWhatAllMayTake) {
  LateGrowth late;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles + 10; ++ino) {
    late.remember(ino, {.charged_bytes = ino, .late_bytes = 3});
  }
  EXPECT_EQ(late.late_bytes(), LateGrowth::kMaxFiles * 3) << "what has given way is in doubt";
  EXPECT_EQ(late.all().size(), LateGrowth::kMaxFiles);
  late.begin_count();
  EXPECT_TRUE(late.all().empty());
  EXPECT_EQ(late.late_bytes(), 0U);
  EXPECT_TRUE(late.has_forgotten()) << "a count does not bring them back";
}

TEST(LateGrowth, IsBounded) {
  LateGrowth late;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles + 10; ++ino)
    late.remember(ino, {.charged_bytes = ino});
  std::size_t known = 0;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles + 10; ++ino) known += late.take(ino) ? 1U : 0U;
  EXPECT_EQ(known, LateGrowth::kMaxFiles);
  EXPECT_TRUE(late.has_forgotten());
  late.clear();
  EXPECT_FALSE(late.has_forgotten());
}

/// Which no look at the host tells again.
TEST(LateGrowth, WhatTheHostKeepsIsNotForgotten) {
  LateGrowth late;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles; ++ino)
    late.remember(ino, {.charged_bytes = 8192, .kept_bytes = 4096, .later = Later::kShrinks});
  EXPECT_EQ(late.forgotten_kept_bytes(), 0U);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    late.remember(LateGrowth::kMaxFiles + i, {.charged_bytes = 8192, .kept_bytes = 4096});
    EXPECT_EQ(late.forgotten_kept_bytes(), i * 4096);
  }
  late.clear();
  EXPECT_EQ(late.forgotten_kept_bytes(), 3 * 4096U) << "by no count";
}

TEST(LateGrowth, AFullOneForgetsFirstWhatACountFinds) {
  LateGrowth late;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles; ++ino) {
    const bool is_kept = ino % 2 == 0;
    late.remember(ino, {.charged_bytes = 8192, .kept_bytes = is_kept ? 4096U : 0U});
  }
  late.remember(LateGrowth::kMaxFiles, {.charged_bytes = 8192, .kept_bytes = 4096});
  EXPECT_EQ(late.forgotten_kept_bytes(), 0U);
  EXPECT_TRUE(late.has_forgotten());
}

TEST(LateGrowth, AFullOneForgetsNothingForAFileThatItKnows) {
  LateGrowth late;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles; ++ino) late.remember(ino, {.charged_bytes = ino});
  late.remember(7, {.charged_bytes = 8192});
  EXPECT_FALSE(late.has_forgotten());
  EXPECT_EQ(late.all().size(), LateGrowth::kMaxFiles);
}

TEST(LateGrowth, AFullOneTakesWhatTheProgramHasForIt) {
  if (kSanitizer) GTEST_SKIP() << "the sanitizer has an allocator of its own";
  const auto before = ::mallinfo2();
  LateGrowth late;
  for (std::uint64_t ino = 0; ino < LateGrowth::kMaxFiles; ++ino)
    late.remember(ino * 4096, {.charged_bytes = ino});
  const auto after = ::mallinfo2();
  const auto bytes = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
  EXPECT_GT(bytes, LateGrowth::kMaxFiles * sizeof(std::uint64_t) * 2);
  EXPECT_LE(bytes, LateGrowth::kMaxBytes);
}

}  // namespace
}  // namespace layerboot::overlay
