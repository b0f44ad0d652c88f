// Merged directories: names of the upper over names of the image, and their listings.
#include "oci-mount/overlay/directories.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

using Names = std::vector<std::string>;

class DirectoriesTest : public PartsTest {
 protected:
  [[nodiscard]] Directories& directories() { return parts->directories; }
  [[nodiscard]] Ref ref(const NodePtr& node) { return {node, node->lower}; }
  struct Told {
    std::string name;
    std::uint64_t ino = 0;
    std::uint32_t type = 0;
    std::uint64_t next = 0;
    NodeId id = 0;
  };
  /// What is told from `cookie` on, of at most `most` names.
  std::vector<Told> list(const Ref& directory, std::uint64_t cookie = 0, std::size_t most = SIZE_MAX,
                         bool with_nodes = false) {
    std::vector<Told> told;
    const auto take = [&](const Dirent& dirent, const Entry& entry) {
      if (told.size() == most) return false;
      told.push_back({std::string(dirent.name), dirent.ino, dirent.type, dirent.next_cookie, entry.id});
      return true;
    };
    for (std::optional<std::uint64_t> next = cookie; next;) {
      const auto listed = directories().list(directory, *next, with_nodes, take);
      EXPECT_TRUE(listed) << listed.error().describe();
      next = listed.value_or(std::nullopt);
    }
    return told;
  }
  static Names names(const std::vector<Told>& told) {
    Names names;
    for (const auto& one : told) names.push_back(one.name);
    return names;
  }
  void put_new(const NodePtr& directory, const std::string& name) {
    Child child;
    child.type = DT_REG;
    child.host_ino = make((directory->is_root() ? "" : directory->name + "/") + name, S_IFREG | 0644).st_ino;
    directories().put(*directory, name, std::move(child));
  }
};

TEST_F(DirectoriesTest, TheUpperDecidesWhereItHasAName) {
  make("dir", S_IFDIR | 0755);
  make("dir/new", S_IFREG | 0644);
  make("dir/file", S_IFREG | 0600);
  make_whiteout("dir/link");
  make_whiteout("dir/nothing");
  const NodePtr dir = load("dir");
  const Found fresh = *directories().look(dir, "new");
  EXPECT_TRUE(fresh.exists() && fresh.in_upper() && !fresh.is_whiteout());
  EXPECT_EQ(fresh.lower_below, tree::kNoNode);
  const Found over = *directories().look(dir, "file");
  EXPECT_TRUE(over.exists() && over.in_upper());
  EXPECT_EQ(over.lower_below, row("dir/file"));
  EXPECT_EQ(over.visible_lower(), tree::kNoNode);
  const Found hidden = *directories().look(dir, "link");
  EXPECT_TRUE(hidden.is_whiteout());
  EXPECT_FALSE(hidden.exists() || hidden.in_upper());
  EXPECT_EQ(hidden.lower_below, row("dir/link"));
  EXPECT_FALSE(directories().look(dir, "nothing")->exists());
  const Found below = *directories().look(dir, "pipe");
  EXPECT_TRUE(below.exists());
  EXPECT_EQ(below.visible_lower(), row("dir/pipe"));
  EXPECT_FALSE(directories().look(dir, "none")->exists());
}

TEST_F(DirectoriesTest, OneThatOnlyTheImageHasIsAnsweredWithoutTheUpper) {
  const Ref dir{nullptr, row("dir")};
  EXPECT_EQ(directories().look(dir, "file")->visible_lower(), row("dir/file"));
  EXPECT_FALSE(directories().look(dir, "none")->exists());
}

TEST_F(DirectoriesTest, AnOpaqueOneShowsNothingOfTheImage) {
  make("dir", S_IFDIR | 0755);
  mark("dir", marks().opaque, "y");
  const NodePtr dir = load("dir");
  EXPECT_FALSE(directories().look(dir, "file")->exists());
  EXPECT_TRUE(*directories().is_empty(dir));
  EXPECT_EQ(names(list(ref(dir))), (Names{".", ".."}));
}

TEST_F(DirectoriesTest, TheHostIsAskedOnce) {
  make("one", S_IFREG | 0644);
  ASSERT_TRUE(directories().listing_of(root()));
  make("behind our back", S_IFREG | 0644);
  EXPECT_FALSE(directories().look(root(), "behind our back")->exists());
  EXPECT_EQ(*directories().listing_of(root()), root()->directory.listing.get());
}

TEST_F(DirectoriesTest, NamesAreRefusedAtTheMemoryLimit) {
  make("directory", S_IFDIR | 0755);
  for (int i = 0; i < 100; ++i) make("directory/" + std::to_string(i), S_IFREG | 0644);
  const NodePtr directory = load("directory");
  take_all_memory();
  EXPECT_EQ(code_of(directories().listing_of(directory)), ENOMEM);
  EXPECT_EQ(directory->directory.listing, nullptr) << "nor is a part of it kept";
  give_memory_back();
  const auto before = memory.used_bytes();
  EXPECT_EQ((*directories().listing_of(directory))->children().size(), 100U);
  EXPECT_GE(memory.used_bytes(), before + 100 * Listing::kNameBytes);
}

TEST_F(DirectoriesTest, ADirectoryThatIsGoneCannotBeRead) {
  make("directory", S_IFDIR | 0755);
  const NodePtr directory = load("directory");
  ASSERT_TRUE(unlink_at({root_fd(), "directory"}, AT_REMOVEDIR));
  EXPECT_EQ(code_of(directories().listing_of(directory)), ENOENT);
}

TEST_F(DirectoriesTest, EmptyIsWhatTheClientWouldSeeEmpty) {
  make("only", S_IFDIR | 0755);
  make("plain", S_IFDIR | 0755);
  make("dir", S_IFDIR | 0755);
  make_whiteout("plain/left over");
  make_whiteout("dir/file");
  const NodePtr only = load("only");
  EXPECT_FALSE(*directories().is_empty(only));
  make_whiteout("only/child");
  directories().put(*only, "child", whiteout_child());
  EXPECT_TRUE(*directories().is_empty(only));
  make_whiteout("only/of no name below");
  directories().put(*only, "of no name below", whiteout_child());
  EXPECT_TRUE(*directories().is_empty(only));
  put_new(only, "new");
  EXPECT_FALSE(*directories().is_empty(only));
  EXPECT_TRUE(*directories().is_empty(load("plain")));
  EXPECT_FALSE(*directories().is_empty(load("dir"))) << "one of several names is hidden";
}

TEST_F(DirectoriesTest, WhiteoutsAreToldAFewAtATime) {
  make("only", S_IFDIR | 0755);
  make_whiteout("only/child");
  make_whiteout("only/other");
  make("only/own", S_IFREG | 0644);
  const NodePtr only = load("only");
  EXPECT_EQ(directories().some_whiteouts(only, 1)->size(), 1U);
  auto all = *directories().some_whiteouts(only, 10);
  std::ranges::sort(all);
  EXPECT_EQ(all, (Names{"child", "other"}));
}

TEST_F(DirectoriesTest, NamesOfTheImageKeepTheirPlaceInListings) {
  make("dir", S_IFDIR | 0755);
  make("dir/new", S_IFREG | 0644);
  make("dir/file", S_IFREG | 0600);
  make_whiteout("dir/link");
  const NodePtr dir = load("dir");
  const auto told = list(ref(dir));
  EXPECT_EQ(names(told), (Names{".", "..", "file", "pipe", "sub", "new"}));
  EXPECT_EQ(told[0].ino, row("dir"));
  EXPECT_EQ(told[1].ino, kRootId);
  EXPECT_EQ(told[3].ino, row("dir/pipe"));
  EXPECT_EQ(told[3].type, DT_FIFO);
  EXPECT_EQ(told[4].type, DT_DIR);
  EXPECT_GT(told[5].ino, kUpperInoBase);
  EXPECT_EQ(told[5].type, DT_REG);
  const auto below = list({nullptr, row("dir/sub")});
  EXPECT_EQ(names(below), (Names{".", "..", "below"}));
  EXPECT_EQ(below[1].ino, row("dir"));
}

// However few are told at a time.
TEST_F(DirectoriesTest, AListingGoesOnWhereItStopped) {
  make("dir", S_IFDIR | 0755);
  make("dir/x", S_IFREG | 0644);
  make("dir/y", S_IFREG | 0644);
  make_whiteout("dir/pipe");
  const NodePtr dir = load("dir");
  const Names all = names(list(ref(dir)));
  for (std::size_t most = 1; most < all.size(); ++most) {
    Names told;
    for (std::uint64_t cookie = 0;;) {
      const auto some = list(ref(dir), cookie, most);
      if (some.empty()) break;
      ASSERT_LE(told.size(), all.size());
      for (const auto& one : some) told.push_back(one.name);
      cookie = some.back().next;
    }
    EXPECT_EQ(told, all) << most;
  }
}

TEST_F(DirectoriesTest, RemovingWhileListingSkipsNobody) {
  for (const char* name : {"a", "b", "c", "d"}) make(name, S_IFREG | 0644);
  Names told;
  std::uint64_t cookie = 0;
  for (;;) {
    const auto some = list(ref(root()), cookie, 1);
    if (some.empty()) break;
    ASSERT_LE(told.size(), 12U);
    cookie = some[0].next;
    told.push_back(some[0].name);
    if (some[0].name.size() == 1 && some[0].name != ".") directories().erase(*root(), some[0].name);
  }
  std::ranges::sort(told);
  EXPECT_EQ(told, (Names{".", "..", "a", "b", "big", "c", "d", "dir", "hard", "hard2", "only", "sparse"}));
}

TEST_F(DirectoriesTest, AListingEndsThoughItsReaderMakesNames) {
  make("only", S_IFDIR | 0755);
  const NodePtr only = load("only");
  Names told;
  std::uint64_t cookie = 0;
  for (int made = 0; made < 100; ++made) {
    const auto some = list(ref(only), cookie, 1);
    if (some.empty()) break;
    cookie = some[0].next;
    told.push_back(some[0].name);
    put_new(only, "new" + std::to_string(made));
  }
  // The first is made after ".", and the listing has begun by then.
  EXPECT_EQ(told, (Names{".", "..", "child"}));
  EXPECT_EQ(list(ref(only)).size(), 3 + 3U) << "another tells them";
}

// Others are to have the lock in between.
TEST_F(DirectoriesTest, ALargeOneIsListedInPieces) {
  constexpr std::size_t kPieces = 5;
  make("dir", S_IFDIR | 0755);
  for (const char* hidden : {"file", "link", "pipe"}) make_whiteout("dir/" + std::string(hidden));
  for (std::size_t i = 0; i < kPieces * Directories::kNamesAtOnce; ++i) {
    make("dir/" + std::to_string(i), S_IFREG | 0644);
  }
  const NodePtr dir = load("dir");
  std::set<std::string> told;
  std::size_t pieces = 0;
  for (std::optional<std::uint64_t> next = 0; next; ++pieces) {
    std::size_t names = 0;
    const auto listed = directories().list(ref(dir), *next, true, [&](const Dirent& dirent, const Entry&) {
      EXPECT_TRUE(told.emplace(dirent.name).second) << dirent.name << " twice";
      names += dirent.name.starts_with(".") ? 0U : 1U;
      return true;
    });
    ASSERT_TRUE(listed);
    EXPECT_LE(names, Directories::kNamesAtOnce);
    next = *listed;
  }
  EXPECT_GT(pieces, kPieces) << "whiteouts count as well";
  EXPECT_EQ(told.size(), 2 + 1 + kPieces * Directories::kNamesAtOnce) << "with dir/sub";
}

TEST_F(DirectoriesTest, OneThatOthersReadMeanwhileIsNotReadAnew) {
  make("dir", S_IFDIR | 0755);
  const NodePtr dir = load("dir");
  const Objects::Pin pin(parts->objects, dir);
  PartLock lock(parts->mutex);
  directories().read_beside_others(lock, dir);
  const Listing* const listing = dir->directory.listing.get();
  ASSERT_NE(listing, nullptr);
  directories().read_beside_others(lock, dir);
  EXPECT_EQ(dir->directory.listing.get(), listing);
}

TEST_F(DirectoriesTest, OnlyWhatWasTakenIsHeld) {
  make("dir", S_IFDIR | 0755);
  make("dir/file", S_IFREG | 0600);
  make("dir/new", S_IFREG | 0644);
  const NodePtr dir = load("dir");
  list(ref(dir), 0, SIZE_MAX, false);
  EXPECT_FALSE(parts->nodes.is_held_untouched(row("dir/pipe"))) << "without nodes nothing is held";
  list(ref(dir), 0, 2, true);
  EXPECT_FALSE(parts->nodes.is_referenced(*load("dir/file"))) << "nor of the upper, without room";
  const auto told = list(ref(dir), 0, 3, true);
  ASSERT_EQ(told.size(), 3U);
  EXPECT_EQ(told[0].id, 0U) << "nobody holds \".\" by this";
  EXPECT_EQ(told[2].name, "file");
  EXPECT_TRUE(parts->nodes.is_referenced(*parts->nodes.known(told[2].id)));
  EXPECT_FALSE(parts->nodes.is_held_untouched(row("dir/link"))) << "for which there was no room";
  list(ref(dir), told[2].next, SIZE_MAX, true);
  EXPECT_TRUE(parts->nodes.is_held_untouched(row("dir/link")));
}

TEST_F(DirectoriesTest, WhatNobodyTookLeavesMemory) {
  make("a", S_IFREG | 0644);
  const auto before = parts->nodes.all().size();
  list(ref(root()));
  EXPECT_EQ(parts->nodes.all().size(), before);
}

TEST_F(DirectoriesTest, AnObjectThatCannotBeReadIsListedStill) {
  make("a", S_IFREG | 0644);
  ASSERT_TRUE(directories().listing_of(root()));
  ASSERT_TRUE(unlink_at({root_fd(), "a"}));
  const auto told = list(ref(root()), 0, SIZE_MAX, true);
  EXPECT_EQ(told.back().name, "a");
  EXPECT_EQ(told.back().id, 0U);
}

class DirectoriesOnTmpfsTest : public PartsOnTmpfsTest {
 protected:
  [[nodiscard]] std::uint64_t bytes() const { return parts->ledger.quota().usage().bytes; }
  [[nodiscard]] std::uint64_t whiteout() const { return parts->ledger.tariff().whiteout(); }
};

TEST_F(DirectoriesOnTmpfsTest, WhiteoutsAreChargedOnceEach) {
  ASSERT_TRUE(parts->directories.listing_of(root()));
  const auto before = bytes();
  parts->directories.put(*root(), "big", whiteout_child());
  parts->directories.put(*root(), "sparse", whiteout_child());
  parts->directories.put(*root(), "big", whiteout_child());
  EXPECT_EQ(bytes(), before + 2 * whiteout());
  parts->directories.rename(*root(), "sparse", "hard", whiteout_child());
  EXPECT_EQ(bytes(), before + 2 * whiteout());
  parts->directories.put(*root(), "big", Child{});
  EXPECT_EQ(bytes(), before + whiteout());
  parts->directories.rename(*root(), "big", "hard", Child{});
  EXPECT_EQ(bytes(), before);
  parts->directories.put(*root(), "sparse", whiteout_child());
  parts->directories.erase(*root(), "sparse");
  parts->directories.erase(*root(), "hard");
  parts->directories.erase(*root(), "hard");
  EXPECT_EQ(bytes(), before);
  EXPECT_EQ(parts->directories.look(root(), "hard")->child, nullptr);
}

}  // namespace
}  // namespace layerboot::overlay
