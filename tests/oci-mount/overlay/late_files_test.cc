// Which files the host may still allocate for, and when they are too many.
#include "oci-mount/overlay/late_files.h"

#include <gtest/gtest.h>

#include <vector>

namespace layerboot::overlay {
namespace {

using Fill = LateFiles::Fill;

class LateFilesTest : public testing::Test {
 protected:
  NodePtr file() { return Node::make(memory_); }

  MemoryBudget memory_;
  LateFiles late_;
};

TEST_F(LateFilesTest, TheOldestIsTakenFirstAndOnce) {
  const NodePtr first = file();
  const NodePtr second = file();
  late_.add(*first, 4096);
  late_.add(*second, 4096);
  late_.add(*first, 8192);
  EXPECT_EQ(late_.take_first(), first);
  EXPECT_FALSE(first->charge.is_listed);
  EXPECT_EQ(late_.take_first(), second);
  EXPECT_EQ(late_.take_first(), nullptr);
}

TEST_F(LateFilesTest, OneThatIsWrittenToWhileItIsSettledIsListedAgain) {
  const NodePtr written = file();
  late_.add(*written, 4096);
  ASSERT_EQ(late_.take_first(), written);
  late_.add(*written, 4096);
  EXPECT_TRUE(written->charge.is_listed);
  EXPECT_EQ(late_.take_first(), written);
}

TEST_F(LateFilesTest, WhatIsDroppedIsNotListed) {
  const NodePtr gone = file();
  late_.add(*gone, 4096);
  late_.drop(*gone);
  late_.drop(*gone);
  late_.add(*file(), 0);
  EXPECT_EQ(late_.take_first(), nullptr);
}

TEST_F(LateFilesTest, WhatWasTakenCountsUntilItIsDropped) {
  const NodePtr written = file();
  late_.add(*written, LateFiles::kLeastBytes);
  EXPECT_EQ(late_.fill(0, 0), Fill::kTooMuch);
  ASSERT_EQ(late_.take_first(), written);
  EXPECT_EQ(late_.fill(0, 0), Fill::kTooMuch);
  late_.drop(*written);
  EXPECT_EQ(late_.fill(0, 0), Fill::kLittle);
}

TEST_F(LateFilesTest, ManyFilesAreTooMuchByAnyBudget) {
  std::vector<NodePtr> files;
  const auto add_up_to = [&](std::size_t count) {
    while (files.size() < count) late_.add(*files.emplace_back(file()), 1);
  };
  add_up_to(LateFiles::kMostFiles / 2);
  EXPECT_EQ(late_.fill(UINT64_MAX, 0), Fill::kLittle);
  add_up_to(LateFiles::kMostFiles / 2 + 1);
  EXPECT_EQ(late_.fill(UINT64_MAX, 0), Fill::kMuch);
  add_up_to(LateFiles::kMostFiles);
  EXPECT_EQ(late_.fill(UINT64_MAX, 0), Fill::kTooMuch);
  EXPECT_TRUE(late_.has_room());
  add_up_to(LateFiles::kMostKept + 1);
  EXPECT_FALSE(late_.has_room()) << "as many may stay in memory";
  for (const NodePtr& listed : files) late_.drop(*listed);
  EXPECT_EQ(late_.fill(0, 0), Fill::kLittle);
  EXPECT_EQ(late_.take_first(), nullptr);
}

TEST_F(LateFilesTest, WhatCameToNothingIsTakenAgainAfterTheOthers) {
  const NodePtr first = file();
  const NodePtr second = file();
  late_.add(*first, 4096);
  late_.add(*second, 4096);
  ASSERT_EQ(late_.take_first(), first);
  late_.list_again(*first);
  late_.list_again(*first);
  EXPECT_EQ(late_.take_first(), second);
  EXPECT_EQ(late_.take_first(), first);
  late_.drop(*first);
  late_.list_again(*first);
  EXPECT_EQ(late_.take_first(), nullptr) << "it does not count any more";
}

TEST_F(LateFilesTest, FilesThatHaveLeftMemoryCountAsWell) {
  const NodePtr written = file();
  late_.add(*written, LateFiles::kLeastBytes / 4);
  EXPECT_EQ(late_.fill(0, LateFiles::kLeastBytes / 4), Fill::kLittle);
  EXPECT_EQ(late_.fill(0, LateFiles::kLeastBytes / 2), Fill::kMuch);
  EXPECT_EQ(late_.fill(0, LateFiles::kLeastBytes), Fill::kTooMuch);
}

TEST_F(LateFilesTest, ALargeBudgetAllowsMore) {
  EXPECT_EQ(LateFiles::most_bytes(0), LateFiles::kLeastBytes);
  const std::uint64_t large = 1000 * LateFiles::kLeastBytes;
  const NodePtr written = file();
  late_.add(*written, LateFiles::kLeastBytes);
  EXPECT_EQ(late_.fill(large, 0), Fill::kLittle);
  late_.add(*written, LateFiles::most_bytes(large));
  EXPECT_EQ(late_.fill(large, 0), Fill::kTooMuch);
}

}  // namespace
}  // namespace layerboot::overlay
