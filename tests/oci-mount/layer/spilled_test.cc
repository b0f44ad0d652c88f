#include "oci-mount/layer/spilled.h"

#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "tests/support/built_tables.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

class SpilledTest : public testing::Test {
 protected:
  void SetUp() override {
    auto file = AtomicFile::create(dir_ / "scratch");
    ASSERT_TRUE(file);
    scratch_.emplace(std::move(*file));
  }

  test::TempDir dir_;
  std::optional<AtomicFile> scratch_;
};

TEST_F(SpilledTest, TwoSequencesShareAFile) {
  Spilled<std::uint64_t> numbers(&*scratch_);
  Spilled<char> letters(&*scratch_);
  constexpr std::uint64_t kCount = 100'000;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(numbers.push_back(i));
    ASSERT_TRUE(letters.append(std::string_view("abc")));
  }
  EXPECT_EQ(numbers.size(), kCount);
  std::vector<std::uint64_t> expected(kCount);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_TRUE(test::items_of(numbers) == expected);
  const auto all = test::items_of(letters);
  ASSERT_EQ(all.size(), 3 * kCount);
  EXPECT_EQ(all[3 * kCount - 2], 'b');
}

TEST_F(SpilledTest, AnyItemIsFoundWhileItGrows) {
  Spilled<std::uint64_t> numbers(&*scratch_);
  std::mt19937_64 random(7);
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    ASSERT_TRUE(numbers.push_back(i * i));
    const std::uint64_t asked = random() % numbers.size();
    const auto found = numbers.at(asked);
    ASSERT_TRUE(found && *found == asked * asked) << asked << " of " << numbers.size();
  }
}

TEST_F(SpilledTest, WhatIsAppendedAtOnceMayBeLargerThanAPiece) {
  Spilled<char> letters(&*scratch_);
  const std::string text = test::sample_bytes(5 * Spilled<char>::kPieceItems + 17, 2);
  ASSERT_TRUE(letters.append(std::string_view(text)));
  const auto all = test::items_of(letters);
  EXPECT_TRUE(std::string_view(all.data(), all.size()) == text);
  EXPECT_EQ(scratch_->size_bytes(), 5 * Spilled<char>::kPieceItems);
}

TEST(Spilled, WithoutAFileAllIsHeld) {
  Spilled<char> letters(nullptr);
  const std::string text = test::sample_bytes(3 * Spilled<char>::kPieceItems, 2);
  ASSERT_TRUE(letters.append(std::string_view(text)));
  EXPECT_EQ(*letters.at(text.size() - 1), text.back());
  const auto all = test::items_of(letters);
  EXPECT_TRUE(std::string_view(all.data(), all.size()) == text);
}

}  // namespace
}  // namespace layerboot::layer
