// Names that move onto directories of which only whiteouts are left.
#include "oci-mount/overlay/renaming.h"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <string>

#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

class RenamingTest : public PartsTest {
 protected:
  /// "from" onto "to", a directory with so many whiteouts.
  void make_both(std::size_t whiteouts) {
    make("from", S_IFDIR | 0755);
    make("to", S_IFDIR | 0755);
    for (std::size_t i = 0; i < whiteouts; ++i) make_whiteout("to/w" + std::to_string(i));
  }
  Result<Renaming::Before> rename(Renaming::Clearing clearing, std::uint32_t flags = 0) {
    const std::lock_guard lock(parts->mutex);
    return renaming->rename(kRootId, "from", kRootId, "to", flags, clearing);
  }
  [[nodiscard]] std::size_t left_on_host() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(on_host("to")), {}));
  }
  void SetUp() override {
    PartsTest::SetUp();
    new_objects.emplace(*parts);
    removal.emplace(*parts);
    renaming.emplace(*parts, *new_objects, *removal);
  }

  std::optional<NewObjects> new_objects;
  std::optional<Removal> removal;
  std::optional<Renaming> renaming;
};

TEST_F(RenamingTest, FewWhiteoutsGoWithTheRename) {
  make_both(Removal::kFewWhiteouts);
  const auto moved = rename(Renaming::Clearing::kElsewhere);
  ASSERT_TRUE(moved);
  EXPECT_TRUE(moved->is_nothing());
  EXPECT_EQ(left_on_host(), 0U);
  EXPECT_FALSE(std::filesystem::exists(on_host("from")));
}

/// At the memory limit the others go on: a file is put in place of an old one, or gets its final name.
TEST_F(RenamingTest, BringsMoreWhereThereAreMoreOrLongerNames) {
  make("from", S_IFREG | 0644);
  make("to", S_IFREG | 0644);
  const auto brings_more = [this](std::string_view name, std::string_view new_name, std::uint32_t flags = 0,
                                  NodeId new_parent = kRootId) {
    const std::lock_guard lock(parts->mutex);
    EXPECT_TRUE(parts->directories.listing_of(root()));
    const auto more = renaming->brings_more(kRootId, name, new_parent, new_name, flags);
    EXPECT_TRUE(more) << more.error().describe();
    return more.value_or(false);
  };
  EXPECT_FALSE(brings_more("from", "to"));
  EXPECT_FALSE(brings_more("from", "tot"));
  EXPECT_TRUE(brings_more("from", "longer"));
  EXPECT_TRUE(brings_more("from", "to", RENAME_WHITEOUT));
  EXPECT_FALSE(brings_more("from", "to", RENAME_EXCHANGE));
  EXPECT_TRUE(brings_more("from", "big", RENAME_EXCHANGE)) << "a file of the image is copied up";
  EXPECT_TRUE(brings_more("big", "b")) << "so is this, and leaves a whiteout";
  parts->nodes.add_row_reference(row("dir"));
  EXPECT_TRUE(brings_more("from", "f", 0, row("dir"))) << "a directory of the image is copied up";
}

TEST_F(RenamingTest, ManyGoBesideOthers) {
  constexpr std::size_t kMany = 3 * Removal::kFewWhiteouts + 1;
  make_both(kMany);
  const auto first = rename(Renaming::Clearing::kElsewhere);
  ASSERT_TRUE(first);
  ASSERT_NE(first->clear, nullptr);
  EXPECT_EQ(left_on_host(), kMany) << "none is removed under the lock";
  EXPECT_TRUE(std::filesystem::exists(on_host("from")));
  EXPECT_EQ(marked("to", marks().opaque), "y") << "what they hide stays hidden";
  {
    const Objects::Pin pin(parts->objects, first->clear);
    ASSERT_TRUE(removal->clear_whiteouts_beside_others(first->clear));
  }
  EXPECT_EQ(left_on_host(), 0U);
  const auto second = rename(Renaming::Clearing::kHere);
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->is_nothing());
  EXPECT_FALSE(std::filesystem::exists(on_host("from")));
}

TEST_F(RenamingTest, AnExchangeKeepsThem) {
  make_both(2 * Removal::kFewWhiteouts);
  const auto moved = rename(Renaming::Clearing::kElsewhere, RENAME_EXCHANGE);
  ASSERT_TRUE(moved);
  EXPECT_TRUE(moved->is_nothing());
}

TEST_F(RenamingTest, ADirectoryThatIsNotOpaqueKeepsItsWhiteouts) {
  make("only", S_IFDIR | 0755);
  make_whiteout("only/child");
  const NodePtr only = load("only");
  const Objects::Pin pin(parts->objects, only);
  EXPECT_TRUE(removal->clear_whiteouts_beside_others(only));
  EXPECT_FALSE(std::filesystem::is_empty(on_host("only")));
}

}  // namespace
}  // namespace layerboot::overlay
