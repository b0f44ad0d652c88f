// Names in merged directories: whiteouts, opaque directories, redirects.
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

using MergedNamesTest = WritableFsTest;

TEST_F(MergedNamesTest, ARenamedLowerDirectoryTakesItsContentsAlong) {
  EXPECT_EQ(drive().rename("deep", "etc/moved"), 0);
  EXPECT_EQ(host_xattr(upper("etc/moved"), marks().redirect), "/deep");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(drive().acquire("deep"), 0U);
    EXPECT_EQ(drive().read("etc/moved/er/est/file"), i < 2 ? "far down" : "FAR down");
    EXPECT_EQ(drive().read("etc/moved/second"), "of the second layer");
    EXPECT_EQ(drive().list("etc/moved"), (std::vector<std::string>{"er", "second"}));
    restart();
    if (i == 1) {
      EXPECT_EQ(drive().write("etc/moved/er/est/file", 0, "FAR"), 0);
    }
  }
}

TEST_F(MergedNamesTest, RedirectsWithinRedirects) {
  EXPECT_EQ(drive().rename("deep/er", "deep/er2"), 0);
  EXPECT_EQ(drive().rename("deep", "top"), 0);
  EXPECT_EQ(drive().rename("top/er2/est", "leaf"), 0);
  EXPECT_EQ(drive().mkdir("deep"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(drive().read("leaf/file"), "far down");
    EXPECT_TRUE(drive().list("top/er2").empty());
    EXPECT_TRUE(drive().list("deep").empty());
    restart();
  }
  EXPECT_EQ(drive().rename("leaf", "deep/leaf"), 0);
  restart();
  EXPECT_EQ(drive().read("deep/leaf/file"), "far down");
}

TEST_F(MergedNamesTest, ADirectoryMovesAwayAndBack) {
  const auto before = drive().snapshot();
  EXPECT_EQ(drive().rename("deep", "away"), 0);
  EXPECT_EQ(drive().rename("away", "deep"), 0);
  EXPECT_EQ(drive().snapshot(), before);
  restart();
  EXPECT_EQ(drive().snapshot(), before);
}

TEST_F(MergedNamesTest, WhatIsMadeInARemovedDirectorysPlaceIsOpaque) {
  EXPECT_EQ(drive().unlink("deep/er/est/file"), 0);
  EXPECT_EQ(drive().rmdir("deep/er/est"), 0);
  EXPECT_EQ(drive().rmdir("deep/er"), 0);
  EXPECT_EQ(drive().mkdir("deep/er"), 0);
  EXPECT_EQ(host_xattr(upper("deep/er"), marks().opaque), "y");
  EXPECT_TRUE(drive().list("deep/er").empty());
  restart();
  EXPECT_TRUE(drive().list("deep/er").empty());
  EXPECT_EQ(drive().create("deep/er/est", "now a file"), 0);
  EXPECT_EQ(drive().rename("deep", "away"), 0);
  restart();
  EXPECT_EQ(drive().list("away/er"), (std::vector<std::string>{"est"}));
}

TEST_F(MergedNamesTest, AMergedDirectoryIsRemovedWithItsWhiteouts) {
  EXPECT_EQ(drive().create("deep/er/est/own", "x"), 0);
  EXPECT_EQ(drive().rmdir("deep/er/est"), ENOTEMPTY);
  EXPECT_EQ(drive().unlink("deep/er/est/own"), 0);
  EXPECT_EQ(drive().rmdir("deep/er/est"), ENOTEMPTY);
  EXPECT_EQ(drive().unlink("deep/er/est/file"), 0);
  EXPECT_EQ(drive().rmdir("deep/er/est"), 0);
  struct stat st{};
  ASSERT_EQ(::lstat(upper("deep/er/est").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  restart();
  EXPECT_TRUE(drive().list("deep/er").empty());
}

TEST_F(MergedNamesTest, AFileInADirectorysPlaceAndBack) {
  EXPECT_EQ(drive().rmdir("empty"), 0);
  EXPECT_EQ(drive().create("empty", "a file now"), 0);
  EXPECT_EQ(drive().read("empty"), "a file now");
  EXPECT_EQ(drive().unlink("empty"), 0);
  EXPECT_EQ(drive().symlink("empty", "etc"), 0);
  EXPECT_EQ(drive().unlink("empty"), 0);
  EXPECT_EQ(drive().mkdir("empty"), 0);
  restart();
  EXPECT_TRUE(S_ISDIR(drive().attr("empty").mode));
}

TEST_F(MergedNamesTest, ExchangeAndNoReplace) {
  EXPECT_EQ(drive().rename("etc/small", "links/a", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(drive().rename("etc/small", "deep/er", RENAME_EXCHANGE), 0);
  EXPECT_EQ(drive().rename("etc/none", "deep", RENAME_EXCHANGE), ENOENT);
  EXPECT_EQ(drive().rename("deep", "deep/second", RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(drive().rename("deep", "deep/inside"), EINVAL);
  EXPECT_EQ(drive().rename("etc/big", "deep/new", RENAME_NOREPLACE), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(drive().read("deep/er"), lower_small());
    EXPECT_EQ(drive().read("etc/small/est/file"), "far down");
    EXPECT_TRUE(drive().read("deep/new") == lower_big());
    restart();
  }
}

TEST_F(MergedNamesTest, RenameOverAnEmptyMergedDirectory) {
  EXPECT_EQ(drive().unlink("deep/er/est/file"), 0);
  EXPECT_EQ(drive().rename("links", "deep/er/est"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(drive().list("deep/er/est"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(drive().acquire("links"), 0U);
    restart();
  }
}

class ManyNamesTest : public WritableFsTest {
 protected:
  static constexpr int kNames = 300;
  static std::vector<std::string> image() {
    TarBuilder tar;
    tar.directory("from").file("from/file", "moves").directory("full");
    for (int i = 0; i < kNames; ++i) tar.file("full/f" + std::to_string(i), "");
    return {tar.finish()};
  }
  ManyNamesTest() : WritableFsTest(image()) {}
};

TEST_F(ManyNamesTest, RenameOverADirectoryThatHasLostThemAll) {
  EXPECT_EQ(drive().rename("from", "full"), ENOTEMPTY);
  for (int i = 0; i < kNames; ++i) ASSERT_EQ(drive().unlink("full/f" + std::to_string(i)), 0);
  EXPECT_EQ(drive().rename("from", "full"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(drive().list("full"), (std::vector<std::string>{"file"}));
    EXPECT_EQ(drive().acquire("from"), 0U);
    restart();
  }
}

TEST_F(MergedNamesTest, UnsupportedRenameFlagsAreErrors) {
  EXPECT_EQ(drive().rename("etc/small", "x", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
  EXPECT_EQ(drive().rename("etc/small", "x", 1U << 30), EINVAL);
}

}  // namespace
}  // namespace layerboot::test
