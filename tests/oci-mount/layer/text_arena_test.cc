#include "oci-mount/layer/text_arena.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace layerboot::layer {
namespace {

TEST(TextArena, TextsStayWhatTheyAreAndWhereTheyAre) {
  TextArena arena;
  EXPECT_EQ(arena.at(arena.add(""), 0), "") << "before there is any other";
  std::vector<std::pair<std::uint32_t, std::string>> added;
  for (std::size_t i = 0; i < 3000; ++i) {
    const std::string text(i % 211, static_cast<char>('a' + i % 26));
    added.emplace_back(arena.add(text), text);
  }
  const std::string whole(TextArena::kChunkBytes, 'w');
  const auto place = arena.add(whole);
  const char* const first = arena.at(added[1].first, 1).data();
  for (const auto& [at, text] : added) EXPECT_EQ(arena.at(at, text.size()), text);
  EXPECT_TRUE(arena.at(place, whole.size()) == whole);
  EXPECT_EQ(arena.at(added[1].first, 1).data(), first);
}

}  // namespace
}  // namespace layerboot::layer
