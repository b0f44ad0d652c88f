// References to rows, counted by several threads, and forgotten at once.
#include "oci-mount/overlay/row_states.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace layerboot::overlay {
namespace {

TEST(RowStatesTest, ARowIsHeldOnlyWhileItIsReferenced) {
  RowStates rows(10);
  EXPECT_FALSE(rows.is_held_untouched(3)) << "nobody was ever given it";
  rows.add_reference(3);
  EXPECT_TRUE(rows.is_held_untouched(3));
  EXPECT_FALSE(rows.take_references(3, 1)) << "no Node to release";
  EXPECT_FALSE(rows.is_held_untouched(3));
}

TEST(RowStatesTest, TheLastReferenceToATouchedRowIsTold) {
  RowStates rows(10);
  rows.add_reference(3);
  rows.add_reference(3);
  rows.touch(3);
  EXPECT_FALSE(rows.is_held_untouched(3));
  EXPECT_FALSE(rows.take_references(3, 1));
  EXPECT_TRUE(rows.take_references(3, 5)) << "a client can't take back more than it has";
  EXPECT_EQ(rows.references(3), 0U);
  EXPECT_FALSE(rows.take_references(3, 1)) << "told once";
}

TEST(RowStatesTest, ClearForgetsReferencesAndTouches) {
  RowStates rows(100'000);
  rows.add_reference(99'999);
  rows.touch(5);
  rows.clear();
  EXPECT_FALSE(rows.is_held_untouched(99'999));
  EXPECT_FALSE(rows.is_touched(5));
}

TEST(RowStatesTest, ThreadsLoseNoReference) {
  RowStates rows(2);
  constexpr int kEach = 20'000;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&rows] {
      for (int j = 0; j < kEach; ++j) {
        rows.add_reference(1);
        rows.add_reference(1);
        static_cast<void>(rows.take_references(1, 1));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(rows.references(1), 4U * kEach);
}

}  // namespace
}  // namespace layerboot::overlay
