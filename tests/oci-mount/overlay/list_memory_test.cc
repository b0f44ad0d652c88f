#include "oci-mount/overlay/list_memory.h"

#include <gtest/gtest.h>

#include <optional>

namespace layerboot::overlay {
namespace {

TEST(ListMemory, ShortNamesLieWithinTheirStrings) {
  EXPECT_EQ(heap_bytes("short"), 0U);
  EXPECT_GE(heap_bytes(std::string(100, 'x')), 100U);
}

TEST(ListMemory, GivesAllBackWithItsLastCopy) {
  MemoryBudget budget;
  const auto before = budget.used_bytes();
  std::optional<ListMemory> first(&budget);
  ASSERT_TRUE(first->take(1000));
  first->give_back(200);
  std::optional<ListMemory> second = first;
  ASSERT_TRUE(second->take(100));
  EXPECT_EQ(budget.used_bytes(), before + 900);
  first.reset();
  EXPECT_EQ(budget.used_bytes(), before + 900);
  second.reset();
  EXPECT_EQ(budget.used_bytes(), before);
}

TEST(ListMemory, IsRefusedAtTheLimit) {
  MemoryBudget budget;
  const auto before = budget.used_bytes();
  ListMemory memory(&budget);
  const auto refused = memory.take(MemoryBudget::kDefaultLimitBytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENOMEM);
  EXPECT_NE(refused.error().text.find("the memory limit"), std::string::npos);
  EXPECT_EQ(budget.used_bytes(), before);
}

TEST(ListMemory, OfNobodyIsNeverRefused) {
  ListMemory memory(nullptr);
  EXPECT_TRUE(memory.take(UINT64_MAX));
  memory.give_back(1);
}

}  // namespace
}  // namespace layerboot::overlay
