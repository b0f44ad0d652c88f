// What the marks of an object of the upper say of the image: one place on the host and a tree.
#include "oci-mount/overlay/redirects.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "oci-mount/base/files.h"
#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

using Where = DataSource::Where;

class RedirectsTest : public testing::Test {
 protected:
  RedirectsTest() {
    EXPECT_EQ(::mkdirat(top_fd_.get(), "directory", 0700), 0);
    file_ = *create_regular_at({top_fd_.get(), "file"}, 0600);
  }
  [[nodiscard]] MergedName merged(std::string_view directory, std::string_view name) {
    return {lower_, paths_, directory == "-" ? tree::kNoNode : image_.row(directory), name};
  }
  [[nodiscard]] tree::NodeId directory_at(std::string_view parent, std::string_view name) {
    const auto below = merged_lower(merged(parent, name), marks_, directory());
    EXPECT_TRUE(below) << below.error().describe();
    return below.value_or(MergedLower{}).row;
  }
  [[nodiscard]] DataSource data_at(std::string_view parent, std::string_view name) {
    const auto source = data_source(merged(parent, name), marks_, file(), *stat_at(file()));
    EXPECT_TRUE(source) << source.error().describe();
    return source.value_or(DataSource{});
  }
  [[nodiscard]] Place directory() const { return {top_fd_.get(), "directory"}; }
  [[nodiscard]] Place file() const { return {top_fd_.get(), "file"}; }
  void mark(Place place, std::string_view name, std::string_view value) const {
    ASSERT_TRUE(set_xattr_at(place, name, value, 0));
  }
  void make_metacopy(std::uint64_t size_bytes) const {
    mark(file(), marks_.metacopy, "");
    resize(size_bytes);
  }
  void resize(std::uint64_t size_bytes) const {
    ASSERT_EQ(::ftruncate(file_.get(), static_cast<off_t>(size_bytes)), 0);
  }
  [[nodiscard]] bool is_marked() const { return get_xattr_at(file(), marks_.metacopy)->has_value(); }
  [[nodiscard]] std::uint64_t size() const { return static_cast<std::uint64_t>(stat_at(file())->st_size); }

  SmallImage image_;
  Lower lower_ = image_.lower();
  MemoryBudget memory_;
  LowerPaths paths_{*image_.tree, memory_};
  const Marks& marks_ = ::geteuid() == 0 ? kNativeMarks : kRecordedMarks;
  test::TempDir top_;
  UniqueFd top_fd_ = *open_path(top_.path(), O_RDONLY | O_DIRECTORY);
  UniqueFd file_;
};

TEST_F(RedirectsTest, ADirectoryMergesWithItsNamesake) {
  EXPECT_EQ(directory_at("dir", "sub"), image_.row("dir/sub"));
  EXPECT_EQ(directory_at("dir", "none"), tree::kNoNode);
  EXPECT_EQ(directory_at("dir", "file"), tree::kNoNode) << "which is no directory";
  EXPECT_EQ(directory_at("-", "dir"), tree::kNoNode) << "its parent merges with none";
}

TEST_F(RedirectsTest, AnOpaqueOneMergesWithNone) {
  mark(directory(), marks_.opaque, "y");
  EXPECT_EQ(directory_at("dir", "sub"), tree::kNoNode);
  mark(directory(), marks_.redirect, "/hard");
  EXPECT_EQ(directory_at("dir", "sub"), tree::kNoNode);
  mark(directory(), marks_.opaque, "x");  // overlayfs: holds whiteouts of another kind
  EXPECT_EQ(directory_at("dir", "sub"), image_.row("hard"));
}

TEST_F(RedirectsTest, ARedirectLeadsElsewhere) {
  mark(directory(), marks_.redirect, "/dir/sub");
  EXPECT_EQ(directory_at("", "moved"), image_.row("dir/sub"));
  EXPECT_EQ(directory_at("-", "moved"), image_.row("dir/sub"));
  mark(directory(), marks_.redirect, "sub");
  EXPECT_EQ(directory_at("dir", "moved"), image_.row("dir/sub")) << "a lone name is one beside it";
  for (const char* path : {"/none", "/dir/file", "dir/sub", ""}) {
    mark(directory(), marks_.redirect, path);
    EXPECT_EQ(directory_at("dir", "sub"), tree::kNoNode) << path;
  }
}

TEST_F(RedirectsTest, AFileWithoutAMarkHasItsOwnData) {
  resize(10);
  EXPECT_EQ(data_at("dir", "file").where, Where::kOwn);
  EXPECT_EQ(data_at("-", "file").where, Where::kOwn);
}

TEST_F(RedirectsTest, AMetacopyHasThatOfItsNamesake) {
  make_metacopy(10);
  const DataSource source = data_at("dir", "file");
  EXPECT_EQ(source.where, Where::kBelow);
  EXPECT_EQ(source.row, image_.row("dir/file"));
  EXPECT_TRUE(is_marked());
  mark(file(), marks_.redirect, "/dir/file");
  EXPECT_EQ(data_at("-", "moved").row, image_.row("dir/file"));
}

TEST_F(RedirectsTest, OneThatLeadsToNoFileIsLostAndStaysSo) {
  make_metacopy(10);
  EXPECT_EQ(data_at("dir", "none").where, Where::kLost);
  EXPECT_EQ(data_at("dir", "sub").where, Where::kLost) << "a directory";
  EXPECT_EQ(data_at("-", "file").where, Where::kLost);
  mark(file(), marks_.redirect, "/none");
  EXPECT_EQ(data_at("dir", "file").where, Where::kLost) << "its namesake is another file";
  EXPECT_TRUE(is_marked()) << "or it would be taken for NULs";
  EXPECT_EQ(size(), 10U);
}

// Only the last step of a cut was missing when the power went.
TEST_F(RedirectsTest, OneOfAnotherSizeIsWholeAndLosesItsMark) {
  for (const std::uint64_t size_bytes : {4U, 20U}) {
    make_metacopy(size_bytes);
    ASSERT_EQ(::pwrite(file_.get(), "0", 1, 0), 1);
    EXPECT_EQ(data_at("dir", "file").where, Where::kOwn) << size_bytes;
    EXPECT_FALSE(is_marked());
    EXPECT_EQ(size(), size_bytes);
  }
}

TEST_F(RedirectsTest, OneOfAnEmptyFileIsItsOwn) {
  make_metacopy(0);
  EXPECT_EQ(data_at("dir/sub", "below").where, Where::kOwn);
  EXPECT_FALSE(is_marked());
}

// A layer that the launcher writes anew at each start, or that is not there any more.
TEST_F(RedirectsTest, OneOfAFileThatHasChangedFollowsIt) {
  make_metacopy(4);
  const DataSource source = data_at("dir", "file");
  EXPECT_EQ(source.where, Where::kBelow);
  EXPECT_EQ(source.row, image_.row("dir/file"));
  EXPECT_EQ(size(), 10U) << "as large as the one below now";
  EXPECT_TRUE(is_marked());
}

// After a power cut on btrfs, or when an answer to a truncation was never given.
TEST_F(RedirectsTest, OneThatHasLostItsSizeGetsItAgain) {
  for (const unsigned fixed_layers : {lower_.fixed_layers, 0U}) {
    lower_.fixed_layers = fixed_layers;
    make_metacopy(0);
    const struct timespec times[2] = {{.tv_sec = 5, .tv_nsec = 0}, {.tv_sec = 6, .tv_nsec = 0}};
    ASSERT_TRUE(set_times_at(file(), times));
    EXPECT_EQ(data_at("dir", "file").row, image_.row("dir/file"));
    EXPECT_TRUE(is_marked());
    EXPECT_EQ(size(), 10U);
    EXPECT_EQ(stat_at(file())->st_mtim.tv_sec, 6);
  }
}

TEST_F(RedirectsTest, WhatWasWrittenIsKeptThoughTheFileBelowHasChanged) {
  lower_.fixed_layers = 0;
  make_metacopy(4);
  ASSERT_EQ(::pwrite(file_.get(), "mine", 4, 0), 4);
  EXPECT_EQ(data_at("dir", "file").where, Where::kOwn);
  EXPECT_FALSE(is_marked());
  EXPECT_EQ(size(), 4U);
}

// A file with two names, of which an added layer has covered one.
TEST_F(RedirectsTest, OneOfTwoFilesFollowsEachAndLosesNeither) {
  lower_.fixed_layers = 1;  // all data is of layers that stay
  make_metacopy(10);
  for (int i = 0; i < 2; ++i) {
    for (const auto& [directory, name, size_bytes] :
         {std::tuple("dir/sub", "below", 0U), {"dir", "file", 10U}, {"hard", "a", 11U}}) {
      const DataSource source = data_at(directory, name);
      EXPECT_EQ(source.where, Where::kBelow) << name;
      EXPECT_EQ(source.row, image_.row(std::string(directory) + "/" + name));
      EXPECT_EQ(size(), size_bytes);
      EXPECT_TRUE(is_marked()) << "or the other name's data would be gone";
    }
  }
}

TEST_F(RedirectsTest, WhoOnlyReadsMendsNothing) {
  const auto seen = [this] {
    const auto source = data_source_seen(merged("dir", "file"), marks_, file(), *stat_at(file()));
    return source.value_or(DataSource{.where = Where::kLost});
  };
  make_metacopy(10);
  EXPECT_EQ(seen().row, image_.row("dir/file"));
  make_metacopy(4);
  EXPECT_EQ(seen().row, image_.row("dir/file")) << "the file below has changed since";
  EXPECT_EQ(size(), 4U);
  ASSERT_EQ(::pwrite(file_.get(), "mine", 4, 0), 4);
  EXPECT_EQ(seen().where, Where::kOwn) << "its mark is old";
  EXPECT_TRUE(is_marked());
  mark(file(), marks_.redirect, "/none");
  EXPECT_EQ(seen().where, Where::kLost);
}

TEST_F(RedirectsTest, AnObjectThatIsNotThereIsAnError) {
  const Place none{top_fd_.get(), "none"};
  EXPECT_FALSE(merged_lower(merged("dir", "sub"), marks_, none));
  EXPECT_FALSE(data_source(merged("dir", "file"), marks_, none, {}));
}

}  // namespace
}  // namespace layerboot::overlay
