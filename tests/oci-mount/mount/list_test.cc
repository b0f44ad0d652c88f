#include "oci-mount/mount/list.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::mount {
namespace {

class ListTest : public testing::Test {
 protected:
  void SetUp() override {
    layer_.directory("d", 01777);
    layer_.file("d/b", 1234).mtime_sec = 1'700'000'000;
    layer_.file("d/a");
    layer_.directory("d/sub");
    layer_.file("d/sub/x\n\\y");
    layer_.symlink("link", "d");
    layer::EntryView& device = layer_.add(layer::EntryType::kCharDevice, "null");
    device.rdev_major = 1;
    device.rdev_minor = 3;
    device.uid = 7;
    const tree::LayerEntries* const one = &layer_;
    auto built = tree::build_and_open(std::span(&one, 1));
    ASSERT_TRUE(built) << built.error().describe();
    tree_ = std::move(*built);
  }
  std::string listed(std::string_view path, const ListOptions& options) const {
    std::string text;
    const auto done = list(*tree_, path, options, [&text](std::string_view line) -> Result<void> {
      text += line;
      return {};
    });
    return done ? text : "error: " + done.error().describe();
  }

  tree::FakeLayer layer_{"l"};
  std::unique_ptr<const tree::Tree> tree_;
};

TEST_F(ListTest, SortsAndFollowsASymlinkToADirectory) {
  EXPECT_EQ(listed("/", {}), "d\nlink\nnull\n");
  EXPECT_EQ(listed("/d", {}), "a\nb\nsub\n");
  EXPECT_EQ(listed("link", {}), "a\nb\nsub\n");
  EXPECT_EQ(listed("d/a", {}), "d/a\n");
}

TEST_F(ListTest, RecursesWithPathsFromTheStart) {
  EXPECT_EQ(listed("d", {.recursive = true}), "a\nb\nsub\nsub/x\\012\\\\y\n");
  EXPECT_EQ(listed("d/sub", {.recursive = true, .escape = false}), "x\n\\y\n");
}

TEST_F(ListTest, ShowsDetails) {
  EXPECT_EQ(listed("/", {.details = true}),
            "drwxrwxrwt   3     0     0       4096 1970-01-01 00:00:00 d\n"
            "lrwxrwxrwx   1     0     0          1 1970-01-01 00:00:00 link -> d\n"
            "crw-r--r--   1     7     0       1, 3 1970-01-01 00:00:00 null\n");
  EXPECT_EQ(listed("link", {.details = true}),
            "lrwxrwxrwx   1     0     0          1 1970-01-01 00:00:00 link -> d\n");
  EXPECT_NE(listed("d", {.details = true}).find("1234 2023-11-14 22:13:20 b\n"), std::string::npos);
}

TEST_F(ListTest, AMissingPathIsNamed) {
  EXPECT_EQ(listed("d/none", {}), "error: d/none: No such file or directory");
}

TEST_F(ListTest, StopsWhenTheLineIsNotTaken) {
  int lines = 0;
  const auto done = list(*tree_, "/", {}, [&lines](std::string_view) -> Result<void> {
    ++lines;
    return fail(EPIPE);
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, EPIPE);
  EXPECT_EQ(lines, 1);
}

TEST(ModeText, SpecialBits) {
  EXPECT_EQ(mode_text(S_IFREG | 06755), "-rwsr-sr-x");
  EXPECT_EQ(mode_text(S_IFREG | 07000), "---S--S--T");
  EXPECT_EQ(mode_text(S_IFIFO | 0640), "prw-r-----");
  EXPECT_EQ(mode_text(S_IFSOCK), "s---------");
  EXPECT_EQ(mode_text(S_IFBLK), "b---------");
}

}  // namespace
}  // namespace layerboot::mount
