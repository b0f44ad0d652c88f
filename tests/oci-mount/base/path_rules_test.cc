#include "oci-mount/base/path_rules.h"

#include <gtest/gtest.h>

#include <string>

namespace layerboot {
namespace {

using namespace std::string_view_literals;

TEST(PathRules, NamesAreSingleComponents) {
  EXPECT_TRUE(is_valid_name("a"));
  EXPECT_TRUE(is_valid_name("..."));
  EXPECT_TRUE(is_valid_name("\xff\n"));
  EXPECT_TRUE(is_valid_name(std::string(255, 'x')));
  for (const std::string_view bad : {""sv, "."sv, ".."sv, "a/b"sv, "a\0b"sv})
    EXPECT_FALSE(is_valid_name(bad));
  EXPECT_FALSE(is_valid_name(std::string(256, 'x')));
}

TEST(PathRules, PathsAreCleanAndRelative) {
  for (const std::string_view good : {""sv, "a"sv, "a/b/c"sv}) EXPECT_TRUE(check_path(good)) << good;
  for (const std::string_view bad : {"/"sv, "/a"sv, "a/"sv, "a//b"sv, "./a"sv, "a/.."sv, "a\0"sv}) {
    EXPECT_FALSE(check_path(bad)) << bad;
  }
}

TEST(PathRules, BoundsAreNamed) {
  const auto error_of = [](const std::string& path) { return check_path(path).error().text; };
  EXPECT_NE(error_of(std::string(256, 'x')).find("255"), std::string::npos);
  std::string deep = "d";
  for (std::size_t i = 1; i < kMaxPathDepth; ++i) deep += "/d";
  EXPECT_TRUE(check_path(deep));
  EXPECT_NE(error_of(deep + "/d").find("1024"), std::string::npos);
  std::string wide(250, 'x');
  while (wide.size() <= kMaxPathBytes) wide += "/" + std::string(250, 'x');
  EXPECT_NE(error_of(wide).find("4096"), std::string::npos);
}

TEST(PathRules, SplitsAtTheLastSlash) {
  EXPECT_EQ(parent_path("a/b/c"), "a/b");
  EXPECT_EQ(parent_path("a"), "");
  EXPECT_EQ(last_component("a/b/c"), "c");
  EXPECT_EQ(last_component("a"), "a");
}

TEST(PathRules, CleanPartsNeverLeaveTheRoot) {
  const auto clean = [](std::string_view from, std::string_view path) {
    std::vector<std::string_view> parts;
    add_clean_parts(parts, from);
    add_clean_parts(parts, path);
    return joined_path(parts);
  };
  EXPECT_EQ(clean("", "./a//b/."), "a/b");
  EXPECT_EQ(clean("a/b", "../c"), "a/c");
  EXPECT_EQ(clean("a", "../../../etc"), "etc");
  EXPECT_EQ(clean("", "/.."), "");
}

}  // namespace
}  // namespace layerboot
