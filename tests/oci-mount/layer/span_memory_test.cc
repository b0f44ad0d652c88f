#include "oci-mount/layer/span_memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace layerboot::layer {
namespace {

constexpr std::size_t kKibibyte = 1024;

TEST(SpanMemory, ChunksBeginWhereHugePagesDo) {
  MemoryBudget budget;
  SpanMemory memory(SpanMemory::kChunkBytes, budget);
  std::byte* const piece = memory.take(SpanMemory::kChunkBytes);
  ASSERT_NE(piece, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(piece) % SpanMemory::kChunkBytes, 0U);
}

TEST(SpanMemory, HandsOutNoMoreThanItHas) {
  MemoryBudget budget;
  SpanMemory memory(3 * SpanMemory::kChunkBytes, budget);
  std::size_t pieces = 0;
  while (memory.take(256 * kKibibyte) != nullptr) ++pieces;
  EXPECT_EQ(pieces, 24U);
}

TEST(SpanMemory, WhatIsGivenBackIsHandedOutAgain) {
  MemoryBudget budget;
  SpanMemory memory(SpanMemory::kChunkBytes, budget);
  std::byte* const whole = memory.take(SpanMemory::kChunkBytes);
  ASSERT_NE(whole, nullptr);
  EXPECT_EQ(memory.take(1), nullptr);
  memory.give_back(whole, SpanMemory::kChunkBytes);
  EXPECT_EQ(memory.take(1), whole);
}

TEST(SpanMemory, ADifferentSizeFitsIntoAGap) {
  MemoryBudget budget;
  SpanMemory memory(SpanMemory::kChunkBytes, budget);
  std::byte* const left = memory.take(960 * kKibibyte);
  std::byte* const gap = memory.take(128 * kKibibyte);
  std::byte* const right = memory.take(960 * kKibibyte);
  ASSERT_NE(right, nullptr);
  memory.give_back(gap, 128 * kKibibyte);
  EXPECT_EQ(memory.take(129 * kKibibyte), nullptr);
  EXPECT_EQ(memory.take(100 * kKibibyte), gap);
  EXPECT_EQ(memory.take(1), nullptr);
  memory.give_back(left, 960 * kKibibyte);
}

TEST(SpanMemory, MoreThanAChunkAndNothingAreNotItsBusiness) {
  MemoryBudget budget;
  SpanMemory memory(4 * SpanMemory::kChunkBytes, budget);
  EXPECT_EQ(memory.take(SpanMemory::kChunkBytes + 1), nullptr);
  EXPECT_EQ(memory.take(0), nullptr);
  SpanMemory none(0, budget);
  EXPECT_EQ(none.take(1), nullptr);
}

TEST(SpanMemory, PiecesNeverOverlap) {
  const unsigned seed = std::random_device()();
  RecordProperty("seed", static_cast<int>(seed));
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  MemoryBudget budget;
  SpanMemory memory(4 * SpanMemory::kChunkBytes, budget);
  std::map<std::byte*, std::size_t> held;
  for (int step = 0; step < 5000; ++step) {
    if (!held.empty() && random() % 2 == 0) {
      const auto victim = std::next(held.begin(), static_cast<long>(random() % held.size()));
      memory.give_back(victim->first, victim->second);
      held.erase(victim);
      continue;
    }
    const std::size_t size_bytes = 1 + random() % (700 * kKibibyte);
    std::byte* const piece = memory.take(size_bytes);
    if (piece == nullptr) continue;
    const auto [place, is_new] = held.emplace(piece, size_bytes);
    ASSERT_TRUE(is_new);
    if (place != held.begin()) {
      const auto before = std::prev(place);
      ASSERT_LE(before->first + before->second, piece);
    }
    if (const auto after = std::next(place); after != held.end()) {
      ASSERT_LE(piece + size_bytes, after->first);
    }
    // Every byte is there to be written.
    std::memset(piece, 0xA5, size_bytes);
  }
}

}  // namespace
}  // namespace layerboot::layer
