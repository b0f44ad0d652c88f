// A directory's names in memory: places in listings, and what is paid for them.
#include "oci-mount/overlay/listing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerboot::overlay {
namespace {

class ListingUnitTest : public testing::Test {
 protected:
  /// What a client that begins now is told, of names that the lower directory does not have.
  std::vector<std::string> told() {
    listing_.begin_listing();
    return told_from(0);
  }
  std::vector<std::string> told_from(std::uint64_t sequence) {
    std::vector<std::string> names;
    for (;; ++sequence) {
      const std::string* const next = listing_.next_upper_only(sequence);
      if (next == nullptr || sequence >= listing_.listed_below()) return names;
      names.push_back(*next);
    }
  }
  void put(std::string_view name, bool has_lower = false) { listing_.put(name, Child{}, has_lower); }

  MemoryBudget memory_;
  Listing listing_{memory_};
};

// So that nobody has to look through all names of a directory that is to be removed.
TEST_F(ListingUnitTest, KnowsHowManyWhiteoutsThereAre) {
  const auto hide = [&](std::string_view name, bool has_lower) {
    listing_.put(name, whiteout_child(), has_lower);
  };
  hide("below", true);
  hide("below", true);
  hide("leftover", false);
  put("object");
  EXPECT_EQ(listing_.whiteouts(), 2U);
  EXPECT_EQ(listing_.hidden(), 1U);
  put("below", true);
  EXPECT_EQ(listing_.whiteouts(), 1U);
  EXPECT_EQ(listing_.hidden(), 0U);
  hide("below", true);
  listing_.rename("object", "moved", Child{}, false);
  listing_.rename("moved", "leftover", Child{}, false);
  EXPECT_EQ(listing_.whiteouts(), 1U) << "one was replaced";
  listing_.erase("below");
  listing_.erase("below");
  EXPECT_EQ(listing_.whiteouts(), 0U);
  EXPECT_EQ(listing_.hidden(), 0U);
}

TEST_F(ListingUnitTest, TellsNamesInTheirOrderOfAppearance) {
  put("b");
  put("a");
  put("below", true);
  EXPECT_EQ(told(), (std::vector<std::string>{"b", "a"})) << "a lower name has its place there";
  put("b");
  EXPECT_EQ(told(), (std::vector<std::string>{"b", "a"})) << "another object of that name";
}

TEST_F(ListingUnitTest, ANameThatAppearsLaterIsNotInAListingThatHasBegun) {
  put("a");
  listing_.begin_listing();
  put("b");
  EXPECT_EQ(told_from(0), std::vector<std::string>{"a"});
  EXPECT_EQ(told(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(ListingUnitTest, ANameThatLosesItsLowerOneIsToldFromHereOn) {
  listing_.put("a", whiteout_child(), true);
  put("a", false);
  EXPECT_EQ(told(), std::vector<std::string>{"a"});
  put("a", true);
  EXPECT_EQ(told(), std::vector<std::string>{}) << "its place is the lower one's";
  EXPECT_EQ(listing_.whiteouts(), 0U);
}

TEST_F(ListingUnitTest, AnOpaqueDirectoryHasNoLowerNames) {
  listing_.put("a", whiteout_child(), true);
  listing_.put("b", whiteout_child(), true);
  put("c");
  listing_.forget_lower();
  EXPECT_EQ(listing_.hidden(), 0U);
  EXPECT_EQ(listing_.whiteouts(), 2U);
  put("a");
  listing_.erase("b");
  EXPECT_EQ(told(), (std::vector<std::string>{"c", "a"}));
  EXPECT_EQ(listing_.whiteouts(), 0U);
}

TEST_F(ListingUnitTest, ARenamedFileStaysInItsPlace) {
  put("a");
  put("b");
  listing_.rename("a", "z", Child{}, false);
  EXPECT_EQ(told(), (std::vector<std::string>{"z", "b"}));
  EXPECT_EQ(listing_.find("a"), nullptr);
  listing_.rename("z", "b", Child{}, false);
  EXPECT_EQ(told(), std::vector<std::string>{"b"}) << "onto another: that one's place";
  listing_.rename("b", "below", Child{}, true);
  EXPECT_TRUE(told().empty());
  EXPECT_NE(listing_.find("below"), nullptr);
}

TEST_F(ListingUnitTest, ErasingManyKeepsTheOrderOfTheRest) {
  for (int i = 0; i < 1000; ++i) put(std::to_string(i));
  for (int i = 0; i < 1000; ++i) {
    if (i % 100 != 0) listing_.erase(std::to_string(i));
  }
  const auto names = told();
  ASSERT_EQ(names.size(), 10U);
  EXPECT_EQ(names.front(), "0");
  EXPECT_EQ(names.back(), "900");
}

}  // namespace
}  // namespace layerboot::overlay
