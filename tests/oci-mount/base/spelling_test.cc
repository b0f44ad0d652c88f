#include "oci-mount/base/spelling.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

using Words = std::vector<std::string>;

TEST(Spelling, CountsSlips) {
  EXPECT_EQ(spelling_slips("", ""), 0U);
  EXPECT_EQ(spelling_slips("start", "strat"), 1U) << "swapped";
  EXPECT_EQ(spelling_slips("start", "stop"), 3U);
  EXPECT_EQ(spelling_slips("", "ps"), 2U);
}

TEST(Spelling, NamesWhatIsNear) {
  const Words known = {"start", "stop", "restart", "stats", "ps", "rm", "rmi"};
  EXPECT_EQ(near_words("strat", known), (Words{"start"}));
  EXPECT_EQ(near_words("sta", known), (Words{"start", "stats"})) << "begun";
  EXPECT_EQ(near_words("xy", known), Words());
  EXPECT_EQ(near_words(std::string(100'000, 'a'), known), Words());
  EXPECT_EQ(did_you_mean("stopp", known), "; did you mean stop?");
  EXPECT_EQ(did_you_mean("zzz", known), "");
}

}  // namespace
}  // namespace layerboot
