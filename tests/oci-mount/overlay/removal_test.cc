// Names that are taken away, what hides the image's, and what stays for a client that holds the object.
#include "oci-mount/overlay/removal.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <string>

#include "tests/oci-mount/overlay/objects_fixture.h"

namespace layerboot::overlay {
namespace {

class RemovalTest : public ObjectsTest {
 protected:
  void SetUp() override {
    ObjectsTest::SetUp();
    removal.emplace(*parts);
    for (const char* const path : {"dir", "only", "hard"}) parts->nodes.add_row_reference(row(path));
  }
  void TearDown() override {
    EXPECT_TRUE(work_names().empty()) << work_names().front() << " stays in the work directory";
    ObjectsTest::TearDown();
  }
  enum class Kind : unsigned char { kFile, kDirectory };
  Result<void> remove(NodeId parent, std::string_view name, Kind kind = Kind::kFile) {
    std::optional<HeldPlace> leftover;
    Result<void> removed;
    {
      const std::lock_guard lock(parts->mutex);
      removed = removal->remove(parent, name, kind == Kind::kDirectory, leftover);
    }
    had_leftover = leftover.has_value();
    if (leftover) Removal::discard(*leftover);
    return removed;
  }
  Result<bool> unlink_beside(NodeId parent, std::string_view name) {
    PartLock lock(parts->mutex);
    return removal->unlink_beside_others(lock, parent, name);
  }
  [[nodiscard]] bool is_on_host(const std::string& path) const {
    return std::filesystem::exists(std::filesystem::symlink_status(on_host(path)));
  }
  [[nodiscard]] bool is_hidden(const std::string& path) const {
    const auto st = stat_at({root_fd(), path.c_str()});
    return st && is_whiteout(*st);
  }
  [[nodiscard]] bool is_shown(std::string_view name) {
    return parts->directories.look(root(), std::string(name))->exists();
  }

  std::optional<Removal> removal;
  bool had_leftover = false;
};

TEST_F(RemovalTest, WhatNobodyHoldsIsFree) {
  const NodePtr node = made("file", 65'536);
  forget(node);
  ASSERT_TRUE(is_on_host("file"));
  const auto before = usage();
  ASSERT_TRUE(remove(kRootId, "file"));
  EXPECT_FALSE(is_on_host("file"));
  EXPECT_FALSE(is_shown("file"));
  EXPECT_EQ(usage().inodes, before.inodes - 1);
  EXPECT_LE(usage().bytes, before.bytes - 65'536);
  EXPECT_EQ(code_of(remove(kRootId, "file")), ENOENT);
}

TEST_F(RemovalTest, WhatTheClientHoldsStaysForIt) {
  const NodePtr node = made("file", 4096);
  ASSERT_TRUE(remove(kRootId, "file"));
  EXPECT_FALSE(is_on_host("file"));
  EXPECT_FALSE(is_shown("file"));
  EXPECT_EQ(parts->nodes.known(node->id), node);
  EXPECT_EQ(parts->objects.attr_of(*node)->nlink, 0U);
  EXPECT_EQ(parts->objects.attr_of(*node)->size_bytes, 4096U);
  forget(node);
  EXPECT_EQ(usage().inodes, 0U);
}

TEST_F(RemovalTest, AnotherNameKeepsTheFile) {
  const NodePtr node = made("file");
  ASSERT_TRUE(link_at({root_fd(), "file"}, {root_fd(), "other"}));
  parts->directories.put(*root(), "other", child_of(node));
  node->known.valid = false;
  ASSERT_TRUE(remove(kRootId, "file"));
  EXPECT_EQ(load("other"), node);
  EXPECT_EQ(parts->objects.attr_of(*node)->nlink, 1U);
  EXPECT_TRUE(is_on_host("other"));
}

TEST_F(RemovalTest, ANameOfTheImageIsHidden) {
  ASSERT_TRUE(remove(row("hard"), "a"));
  EXPECT_TRUE(is_hidden("hard/a"));
  const NodePtr node = parts->nodes.known(row("hard/a"));
  ASSERT_NE(node, nullptr) << "for the two names that are left";
  EXPECT_EQ(node->lost_names, 1U);
  EXPECT_FALSE(parts->directories.look(load("hard"), "a")->exists());
  EXPECT_EQ(code_of(remove(row("hard"), "a")), ENOENT);
  EXPECT_TRUE(remove(row("hard"), "b"));
}

TEST_F(RemovalTest, WhatStandsInItsPlaceLeavesItHidden) {
  make("big", S_IFREG | 0644);  // over the image's
  ASSERT_NE(load("big"), nullptr);
  ASSERT_TRUE(remove(kRootId, "big"));
  EXPECT_TRUE(is_hidden("big"));
  EXPECT_FALSE(is_shown("big"));
}

TEST_F(RemovalTest, WhatTheUpperHasGoesHoweverFullItIs) {
  const NodePtr node = made("big", 65'536);  // over the image's, and held: a whiteout comes before it goes
  parts->ledger.quota().set_usage({.bytes = UINT64_MAX / 2, .inodes = UINT64_MAX / 2});
  ASSERT_TRUE(remove(kRootId, "big"));
  EXPECT_TRUE(is_hidden("big"));
  forget(node);
}

// It stays for the session, to say that the image's names of it are gone.
TEST_F(RemovalTest, ACopyThatIsGoneKeepsNeitherItsInodeNorItsDirectory) {
  make("big", S_IFREG | 0644);
  ASSERT_TRUE(set_xattr_at({root_fd(), "big"}, parts->places.marks().origin, "/big", 0));
  const NodePtr node = load("big");
  ASSERT_EQ(node->id, row("big"));
  ASSERT_TRUE(parts->places.file_fd(node));
  const auto children = root()->holders.loaded_children;
  ASSERT_TRUE(remove(kRootId, "big"));
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(parts->places.open_fd(*node), nullptr);
  EXPECT_EQ(root()->holders.loaded_children, children - 1);
}

TEST_F(RemovalTest, ItsKindIsLookedAt) {
  static_cast<void>(made("file"));
  make("made", S_IFDIR | 0755);
  EXPECT_EQ(code_of(remove(kRootId, "file", Kind::kDirectory)), ENOTDIR);
  EXPECT_EQ(code_of(remove(kRootId, "big", Kind::kDirectory)), ENOTDIR);
  EXPECT_EQ(code_of(remove(kRootId, "only")), EISDIR);
  EXPECT_EQ(code_of(remove(kRootId, "nothing")), ENOENT);
  EXPECT_TRUE(is_on_host("file"));
}

TEST_F(RemovalTest, ADirectoryGoesWhenItIsEmpty) {
  make("made", S_IFDIR | 0755);
  make("made/file", S_IFREG | 0644);
  EXPECT_EQ(code_of(remove(kRootId, "made", Kind::kDirectory)), ENOTEMPTY);
  EXPECT_EQ(code_of(remove(kRootId, "only", Kind::kDirectory)), ENOTEMPTY) << "as the image has it";
  const NodePtr directory = load("made");
  parts->nodes.add_reference(*directory);
  ASSERT_TRUE(remove(directory->id, "file"));
  ASSERT_TRUE(remove(kRootId, "made", Kind::kDirectory));
  EXPECT_TRUE(had_leftover) << "out of sight first, and freed without the lock";
  EXPECT_FALSE(is_on_host("made"));
  EXPECT_FALSE(is_shown("made"));
  EXPECT_TRUE(directory->is_removed());
  EXPECT_EQ(parts->objects.attr_of(*directory)->nlink, 0U) << "which the client may still ask for";
  EXPECT_EQ(code_of(remove(directory->id, "file")), ENOENT);
  forget(directory);
}

TEST_F(RemovalTest, ADirectoryOfTheImageWithNothingLeftIsHidden) {
  ASSERT_TRUE(remove(row("only"), "child"));
  ASSERT_TRUE(is_hidden("only/child"));
  ASSERT_TRUE(remove(kRootId, "only", Kind::kDirectory));
  EXPECT_TRUE(is_hidden("only"));
  EXPECT_TRUE(had_leftover) << "with the whiteout that was in it";
}

TEST_F(RemovalTest, BesideOthersGoesWhatTakesOneCall) {
  const NodePtr node = made("file", 4096);
  EXPECT_TRUE(unlink_beside(kRootId, "file").value_or(false));
  EXPECT_FALSE(is_on_host("file"));
  EXPECT_FALSE(is_shown("file"));
  EXPECT_TRUE(node->is_orphan());
  EXPECT_FALSE(root()->directory.claimed);
  forget(node);
  EXPECT_EQ(usage().inodes, 0U);
}

TEST_F(RemovalTest, AndNothingElse) {
  make("made", S_IFDIR | 0755);
  make("big", S_IFREG | 0644);  // over the image's: a whiteout has to stay
  const NodePtr two = made("two");
  ASSERT_TRUE(link_at({root_fd(), "two"}, {root_fd(), "names"}));
  two->known.valid = false;
  const NodePtr unheld = made("unheld");
  forget(unheld);
  for (const char* const name : {"made", "big", "two", "unheld", "sparse", "nothing"}) {
    EXPECT_FALSE(unlink_beside(kRootId, name).value_or(true)) << name;
    EXPECT_FALSE(root()->directory.claimed) << name;
  }
  EXPECT_TRUE(is_on_host("made") && is_on_host("big") && is_on_host("two") && is_on_host("unheld"));
}

TEST_F(RemovalTest, WhereTheHostRefusesItIsAsBefore) {
  const NodePtr node = made("file");
  // Behind its back: it is a directory now, which unlink(2) does not take.
  const auto work = parts->places.work_place();
  ASSERT_TRUE(rename_at({root_fd(), "file"}, work.get(), 0));
  ASSERT_EQ(::mkdirat(root_fd(), "file", 0755), 0);
  ASSERT_TRUE(parts->objects.attr_of(*node));
  node->known.attr.nlink = 1;
  node->known.valid = true;
  parts->places.keep_fd(*node, *open_regular_at(work.get()));
  EXPECT_EQ(code_of(unlink_beside(kRootId, "file")), EISDIR);
  EXPECT_TRUE(node->is_reached_as(root(), "file"));
  EXPECT_FALSE(node->is_orphan());
  EXPECT_TRUE(is_shown("file"));
  EXPECT_FALSE(root()->directory.claimed);
  ASSERT_TRUE(unlink_at({root_fd(), "file"}, AT_REMOVEDIR));
  ASSERT_TRUE(rename_at(work.get(), {root_fd(), "file"}, 0));
  EXPECT_TRUE(unlink_beside(kRootId, "file").value_or(false)) << "and it may be tried again";
  forget(node);
}

TEST_F(RemovalTest, FewWhiteoutsOfADirectoryGoUnderTheLock) {
  make("made", S_IFDIR | 0755);
  for (int i = 0; i < 3; ++i) make_whiteout("made/w" + std::to_string(i));
  make("made/file", S_IFREG | 0644);
  const NodePtr directory = load("made");
  const std::lock_guard lock(parts->mutex);
  ASSERT_TRUE(removal->clear_whiteouts(directory));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(on_host("made")), {}), 1) << "the file stays";
  EXPECT_TRUE(parts->directories.look(directory, "file")->exists());
}

}  // namespace
}  // namespace layerboot::overlay
