// Which paths an ignore file leaves out: the table follows moby/patternmatcher's own tests.
#include "launcher/images/context_ignore.h"

#include <gtest/gtest.h>

#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

bool leaves_out(const std::string& rules, const std::string& path) {
  const auto ignore = ContextIgnore::parse(rules);
  EXPECT_TRUE(ignore) << rules;
  return ignore && ignore->leaves_out(path);
}

TEST(ContextIgnore, PatternsAreThoseOfTheField) {
  struct Case {
    const char* pattern;
    const char* path;
    bool fits;
  };
  constexpr Case kCases[] = {
      {"**", "file", true},
      {"**", "dir/file", true},
      {"**/", "file", true},
      {"**/**", "dir/file", true},
      {"dir/**", "dir/file", true},
      {"dir/**", "dir/dir2/file", true},
      {"dir/**", "dir", false},
      {"**/dir2/*", "dir/dir2/file", true},
      {"**/dir2/*", "dir/dir2/dir2/file", true},
      {"**/dir2/**", "dir/dir2/dir2/file", true},
      {"**file", "file", true},
      {"**file", "dir/file", true},
      {"**/file", "dir/dir/file", true},
      {"**/file*", "dir/dir/file.txt", true},
      {"**/file*txt", "dir/dir/file.txt", true},
      {"**/**/*.txt", "dir/dir/file.txt", true},
      {"a**", "abc", true},
      {"a**", "a/b/c", true},
      {"a**", "b/a", false},
      {"a**/*.txt", "a/file.txt", true},
      {"a**/*.txt", "a/dir/dir/file.txt", true},
      {"a/*.txt", "a/dir/file.txt", false},
      {"a/*.txt", "a/file.txt", true},
      {"a[b-d]e", "ae", false},
      {"a[b-d]e", "ace", true},
      {"a[^b-d]e", "age", true},
      {"abc.def", "abcZdef", false},
      {"abc?def", "abcZdef", true},
      {"a\\*b", "a*b", true},
      {"a\\*b", "axb", false},
      {"/dir", "dir", true},
      {"./dir/", "dir/file", true},
      {"x/../dir", "dir", true},
      {"dir", "sub/dir", false},
      {"dir", "director", false},
      {"*", ".hidden", true},
      {".", "file", false},
      {"  dir\t\r", "dir", true},
      {"# dir", "dir", false},
      {"#dir", "#dir", false},
      {"", "file", false},
  };
  for (const Case& one : kCases) {
    EXPECT_EQ(leaves_out(one.pattern, one.path), one.fits) << one.pattern << " of " << one.path;
  }
  EXPECT_FALSE(leaves_out("**", "")) << "the context itself";
}

TEST(ContextIgnore, TheLastThatFitsDecides) {
  const std::string rules = "*.md\n!README*.md\nREADME-secret.md\n";
  EXPECT_TRUE(leaves_out(rules, "x.md"));
  EXPECT_FALSE(leaves_out(rules, "README.md"));
  EXPECT_TRUE(leaves_out(rules, "README-secret.md"));
  EXPECT_FALSE(leaves_out("*.md\nREADME-secret.md\n!README*.md\n", "README-secret.md"));
  EXPECT_FALSE(leaves_out("dir\n! dir/keep\n", "dir/keep/below"));
  EXPECT_TRUE(leaves_out("dir\n!dir/keep\n", "dir/other"));
}

TEST(ContextIgnore, AnExceptionOfNothingIsRefused) {
  const auto ignore = ContextIgnore::parse("a\n ! \n");
  ASSERT_FALSE(ignore);
  EXPECT_EQ(ignore.error().describe(), "line 2: a ! needs a pattern behind it");
}

TEST(ContextIgnore, ManyStarsTakeNoTime) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "**/a/";
  std::string path;
  for (int i = 0; i < 400; ++i) path += "a/";
  EXPECT_FALSE(leaves_out(pattern + "b", path + "c"));
  EXPECT_TRUE(leaves_out(pattern + "c", path + "c"));
}

TEST(ContextIgnore, TheRecipesOwnFileComesFirst) {
  const test::TempDir dir;
  const auto rules_of = [&dir](const char* recipe) {
    const auto context = open_build_context(dir.path(), dir / recipe);
    return context ? context->ignore_file.filename().string() : context.error().describe();
  };
  EXPECT_EQ(rules_of("Dockerfile"), "");
  test::write_text(dir / ".dockerignore", "a");
  EXPECT_EQ(rules_of("Dockerfile"), ".dockerignore");
  test::write_text(dir / ".containerignore", "a");
  EXPECT_EQ(rules_of("Dockerfile"), ".containerignore");
  test::write_text(dir / "x.dockerignore", "!");
  EXPECT_EQ(rules_of("Dockerfile"), ".containerignore");
  EXPECT_NE(rules_of("x").find("x.dockerignore: line 1"), std::string::npos) << rules_of("x");
  EXPECT_NE(open_build_context(dir / "none", "x").error().describe().find("is no directory"),
            std::string::npos);
}

}  // namespace
}  // namespace layerboot::launcher
