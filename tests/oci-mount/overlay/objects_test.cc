// How objects of the upper come into memory as Nodes, what is known of them there, and how they go.
#include "oci-mount/overlay/objects.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

class ObjectsTest : public PartsTest {
 protected:
  [[nodiscard]] Objects& objects() { return parts->objects; }
  /// A file that the client has just made and holds, open as after a write.
  NodePtr made(const std::string& name, std::uint64_t allocated_bytes = 0) {
    const Place place{root_fd(), name.c_str()};
    make(name, S_IFREG | 0644);
    if (allocated_bytes > 0) {
      const UniqueFd fd = *open_regular_at(place);
      EXPECT_EQ(::fallocate(fd.get(), 0, 0, static_cast<off_t>(allocated_bytes)), 0);
    }
    const auto st = stat_at(place);
    const Nature nature{.mode = S_IFREG | 0644, .uid = ::geteuid(), .gid = ::getegid(), .rdev = 0};
    NodePtr node = objects().make_node(nature, *st);
    node->parent = root();
    node->name = name;
    parts->nodes.add(node);
    EXPECT_TRUE(parts->directories.listing_of(root()));
    parts->directories.put(*root(), name, child_of(node));
    parts->nodes.add_reference(*node);
    return node;
  }
  /// As an unlink of what the client holds does it.
  void move_to_work(const NodePtr& node) {
    const HeldPlace work = parts->places.work_place();
    ASSERT_TRUE(rename_at(parts->places.place_of(node)->get(), work.get(), 0));
    parts->directories.erase(*root(), node->name);
    node->standing = Standing::kInWork;
    node->known.valid = false;
    parts->nodes.move(node, nullptr, work.name);
  }
  void forget(const NodePtr& node) {
    parts->nodes.take_references(*node, 100);
    objects().release_if_unused(node);
  }
  [[nodiscard]] Quota::Usage usage() const { return parts->ledger.quota().usage(); }
};

TEST_F(ObjectsTest, TheRootIsKnownFromTheStart) {
  ASSERT_NE(root(), nullptr);
  EXPECT_TRUE(root()->is_root() && root()->is_directory());
  EXPECT_EQ(root()->lower, tree::kRoot);
  const auto attr = objects().attr_of(*root());
  ASSERT_TRUE(attr);
  EXPECT_EQ(attr->ino, kRootId);
  EXPECT_EQ(usage().bytes, 0U);
}

TEST_F(ObjectsTest, AnObjectIsLoadedOnce) {
  const struct stat st = make("file", S_IFREG | 0640);
  const NodePtr node = load("file");
  ASSERT_NE(node, nullptr);
  EXPECT_EQ(node->id, kUpperIdBase + st.st_ino);
  EXPECT_EQ(node->lower, tree::kNoNode);
  EXPECT_TRUE(node->is_reached_as(root(), "file"));
  EXPECT_EQ(load("file"), node);
  EXPECT_EQ(parts->nodes.known(node->id), node);
  const auto attr = objects().attr_of(*node);
  EXPECT_EQ(attr->mode, static_cast<std::uint32_t>(S_IFREG | 0640));
  EXPECT_EQ(attr->ino, ino_of(node->id, st.st_ino));
}

TEST_F(ObjectsTest, NamesOfOneFileShareItsNode) {
  make("a", S_IFREG | 0644);
  ASSERT_TRUE(link_at({root_fd(), "a"}, {root_fd(), "b"}));
  const NodePtr node = load("a");
  EXPECT_EQ(load("b"), node);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 2U);
}

TEST_F(ObjectsTest, ACopyHasTheNumberOfItsRow) {
  make("copied", S_IFREG | 0644);
  mark("copied", marks().origin, "/dir/file");
  EXPECT_EQ(load("copied")->id, row("dir/file"));
  EXPECT_FALSE(load("copied")->way.is_durable()) << "a former session may have made it a moment ago";
}

TEST_F(ObjectsTest, AnOriginThatCannotBeIsNone) {
  make("directory", S_IFREG | 0644);
  mark("directory", marks().origin, "/dir");
  make("nowhere", S_IFREG | 0644);
  mark("nowhere", marks().origin, "/none");
  EXPECT_GE(load("directory")->id, kUpperIdBase) << "of another type";
  EXPECT_GE(load("nowhere")->id, kUpperIdBase);
}

TEST_F(ObjectsTest, TwoThatSayTheyCameFromOneRowStayApart) {
  for (const char* name : {"one", "two"}) {
    make(name, S_IFREG | 0644);
    mark(name, marks().origin, "/dir/file");
  }
  const NodePtr one = load("one");
  const NodePtr two = load("two");
  ASSERT_NE(two, nullptr);
  EXPECT_EQ(one->id, row("dir/file"));
  EXPECT_GE(two->id, kUpperIdBase);
}

TEST_F(ObjectsTest, WhatTheHostDoesNotHaveIsAnError) {
  make("file", S_IFREG | 0644);
  ASSERT_TRUE(parts->directories.listing_of(root()));
  ASSERT_TRUE(unlink_at({root_fd(), "file"}));
  Child child;
  EXPECT_EQ(code_of(objects().load(root(), "file", child)), ENOENT);
  EXPECT_EQ(parts->nodes.all().size(), 1U) << "nothing half-known stays";
}

TEST_F(ObjectsTest, NothingComesIntoMemoryAtItsLimit) {
  make("file", S_IFREG | 0644);
  Child child;
  take_all_memory();
  EXPECT_EQ(code_of(objects().load(root(), "file", child)), ENOMEM);
  const auto room = objects().make_room();
  ASSERT_FALSE(room);
  EXPECT_EQ(room.error().code, ENOMEM);
  EXPECT_NE(room.error().text.find(std::to_string(memory.limit_bytes())), std::string::npos);
  give_memory_back();
  EXPECT_TRUE(objects().make_room());
  EXPECT_TRUE(objects().load(root(), "file", child));
}

TEST_F(ObjectsTest, ListingsThatNobodyNeedsGoFirst) {
  make("directory", S_IFDIR | 0755);
  make("held", S_IFDIR | 0755);
  make("parent", S_IFDIR | 0755);
  make("parent/child", S_IFREG | 0644);
  const NodePtr child = load("parent/child");
  const NodePtr idle = load("directory");
  const NodePtr held = load("held");
  parts->nodes.add_reference(*held);
  ASSERT_TRUE(parts->directories.listing_of(idle) && parts->directories.listing_of(held));
  objects().ask_for_room();
  EXPECT_NE(idle->directory.listing, nullptr) << "there is room";
  take_all_memory();
  objects().ask_for_room();
  EXPECT_EQ(idle->directory.listing, nullptr);
  EXPECT_NE(held->directory.listing, nullptr);
  EXPECT_NE(child->parent->directory.listing, nullptr) << "it would have to be read again for its child";
  EXPECT_NE(root()->directory.listing, nullptr);
  give_memory_back();
}

TEST_F(ObjectsTest, AttributesAreReadAgainOnlyWhenTheyAreOld) {
  make("file", S_IFREG | 0644);
  const NodePtr node = load("file");
  ASSERT_TRUE(objects().attr_of(*node));
  ASSERT_EQ(::truncate(on_host("file").c_str(), 9), 0);
  EXPECT_EQ(objects().attr_of(*node)->size_bytes, 0U);
  node->known.times_stale = true;
  EXPECT_EQ(objects().owner_of(*node)->size_bytes, 0U) << "who asks for the owner needs no times";
  EXPECT_EQ(objects().attr_of(*node)->size_bytes, 9U);
  ASSERT_EQ(::truncate(on_host("file").c_str(), 10), 0);
  node->known.valid = false;
  EXPECT_EQ(objects().owner_of(*node)->size_bytes, 10U);
}

TEST_F(ObjectsTest, AnImagesObjectTellsTheNamesThatAreLeft) {
  NodePtr node = objects().new_node();
  node->id = node->lower = row("hard/a");
  node->standing = Standing::kLowerOnly;
  node->lost_names = 1;
  EXPECT_EQ(objects().attr_of(*node)->nlink, 2U);
  node->lost_names = 7;
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
}

TEST_F(ObjectsTest, WhatIsGivenToTheClientIsHeld) {
  make("file", S_IFREG | 0644);
  const NodePtr node = load("file");
  EXPECT_FALSE(parts->nodes.is_referenced(*node));
  const auto entry = objects().entry_for(node);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->id, node->id);
  EXPECT_TRUE(parts->nodes.is_referenced(*node));
  EXPECT_EQ(objects().entry_for_row(row("big")).attr.size_bytes, SmallImage::kBigBytes);
  EXPECT_TRUE(parts->nodes.is_held_untouched(row("big")));
}

TEST_F(ObjectsTest, ANewObjectIsCharged) {
  const Quota::Usage before = usage();
  const NodePtr node = made("file", 64U << 10U);
  EXPECT_GE(usage().bytes, before.bytes + (64U << 10U));
  EXPECT_EQ(usage().inodes, before.inodes + 1);
}

TEST_F(ObjectsTest, WhatNobodyHoldsLeavesMemoryWithItsParents) {
  make("directory", S_IFDIR | 0755);
  make("directory/file", S_IFREG | 0644);
  const NodePtr file = load("directory/file");
  const NodePtr directory = file->parent;
  parts->nodes.add_reference(*file);
  objects().release_if_unused(file);
  EXPECT_NE(parts->nodes.known(file->id), nullptr) << "the client holds it";
  objects().release_if_unused(directory);
  EXPECT_NE(parts->nodes.known(directory->id), nullptr) << "its child does";
  forget(file);
  EXPECT_EQ(parts->nodes.known(file->id), nullptr);
  EXPECT_EQ(parts->nodes.known(directory->id), nullptr);
  EXPECT_TRUE(file->is_gone()) << "for whoever still has it in hand";
  EXPECT_NE(load("directory/file"), file);
}

TEST_F(ObjectsTest, APinKeepsANodeWhateverIsForgotten) {
  const NodePtr node = made("file");
  {
    Pin pin(objects(), node);
    const Pin moved = std::move(pin);
    forget(node);
    EXPECT_EQ(parts->nodes.known(node->id), moved.node());
  }
  EXPECT_EQ(parts->nodes.known(node->id), nullptr);
  EXPECT_EQ(objects().pin(fail(EIO)).error().code, EIO);
}

TEST_F(ObjectsTest, AnUnlinkedFileGoesWithTheLastReference) {
  const Quota::Usage before = usage();
  const NodePtr node = made("file", 64U << 10U);
  move_to_work(node);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U) << "its name in the work directory is none";
  objects().release_if_unused(node);
  EXPECT_EQ(work_names().size(), 1U);
  forget(node);
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(usage().inodes, before.inodes);
  EXPECT_LE(usage().bytes, before.bytes + 4096) << "the directory may keep a block";
}

TEST_F(ObjectsTest, OneThatHasOtherNamesStays) {
  const NodePtr node = made("file");
  ASSERT_TRUE(link_at({root_fd(), "file"}, {root_fd(), "other"}));
  const auto inodes = usage().inodes;
  move_to_work(node);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 1U);
  forget(node);
  EXPECT_TRUE(work_names().empty());
  EXPECT_EQ(usage().inodes, inodes);
  EXPECT_EQ(parts->nodes.known(node->id), nullptr);
}

TEST_F(ObjectsTest, AFileInWorkThatIsMetByANameIsKeptByThat) {
  const NodePtr node = made("file");
  ASSERT_TRUE(link_at({root_fd(), "file"}, {root_fd(), "other"}));
  move_to_work(node);
  Child child = child_of(node);
  const auto met = objects().load(root(), "other", child);
  ASSERT_TRUE(met);
  EXPECT_EQ(*met, node);
  EXPECT_TRUE(node->is_reached_as(root(), "other"));
  EXPECT_TRUE(work_names().empty());
}

TEST_F(ObjectsTest, AnOrphanIsKeptByItsDescriptorAlone) {
  const Quota::Usage before = usage();
  const NodePtr node = made("file", 64U << 10U);
  ASSERT_TRUE(objects().make_orphan(*node));
  EXPECT_EQ(parts->places.open_fd(*node), nullptr) << "its own now";
  objects().unmake_orphan(*node);
  EXPECT_EQ(node->standing, Standing::kNamed);
  EXPECT_EQ(node->file.orphan, nullptr);
  ASSERT_TRUE(objects().make_orphan(*node));
  ASSERT_TRUE(unlink_at({root_fd(), "file"}));
  parts->nodes.move(node, nullptr, {});
  node->known.valid = false;
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
  EXPECT_GE(usage().bytes, before.bytes + (64U << 10U)) << "still there";
  forget(node);
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(usage().inodes, before.inodes);
}

TEST_F(ObjectsTest, OnlyFilesOfTheUpperThatAreHeldBecomeOrphans) {
  const NodePtr unheld = made("unheld");
  ASSERT_TRUE(parts->places.file_fd(unheld));
  parts->nodes.take_references(*unheld, 1);
  EXPECT_FALSE(objects().make_orphan(*unheld));
  make("copy", S_IFREG | 0644);
  mark("copy", marks().origin, "/dir/file");
  open();  // to meet it as a start does
  const NodePtr copy = load("copy");
  parts->nodes.add_reference(*copy);
  ASSERT_TRUE(parts->places.file_fd(copy));
  EXPECT_FALSE(objects().make_orphan(*copy)) << "of the image: its number stays with it";
}

TEST_F(ObjectsTest, OrphansAreFew) {
  std::vector<NodePtr> orphans;
  for (int i = 0;; ++i) {
    ASSERT_LT(i, 2000);
    const NodePtr node = made("f" + std::to_string(i));
    ASSERT_TRUE(parts->places.file_fd(node));
    if (!objects().make_orphan(*node)) break;
    orphans.push_back(node);
  }
  EXPECT_FALSE(orphans.empty());
  EXPECT_LE(orphans.size(), 256U);
  forget(orphans.back());
  const NodePtr another = made("another");
  ASSERT_TRUE(parts->places.file_fd(another));
  EXPECT_TRUE(objects().make_orphan(*another)) << "one has gone";
}

TEST_F(ObjectsTest, LargeFilesAreHeldOverTheirRemoval) {
  const NodePtr small = made("small", 1U << 20U);
  EXPECT_FALSE(objects().hold_large(*small, parts->places.place_of(small)->get()));
  const NodePtr large = made("large", 9U << 20U);
  SharedFd held = objects().hold_large(*large, parts->places.place_of(large)->get());
  ASSERT_TRUE(held);
  ASSERT_TRUE(unlink_at({root_fd(), "large"}));
  EXPECT_EQ(stat_at({held->get(), ""})->st_nlink, 0U);
  objects().bury(*large, std::move(held));
  EXPECT_TRUE(large->is_gone());
  objects().bury(*small, nullptr);
  EXPECT_EQ(usage().bytes, 0U);
}

TEST_F(ObjectsTest, WhatALargeFileHeldIsToBeHadWhenTheHostHasFreedIt) {
  const NodePtr large = made("large", 9U << 20U);
  ASSERT_TRUE(parts->places.file_fd(large));
  ASSERT_TRUE(objects().make_orphan(*large));
  ASSERT_TRUE(unlink_at({root_fd(), "large"}));
  const std::weak_ptr<const UniqueFd> last = large->file.orphan;
  {
    const std::lock_guard lock(parts->mutex);
  }  // closes what was let go of
  const auto worker_is_free = std::make_shared<std::latch>(1);
  image.workers.submit([worker_is_free] { worker_is_free->wait(); });
  forget(large);
  EXPECT_TRUE(large->is_gone());
  EXPECT_EQ(usage().bytes, 0U);
  EXPECT_FALSE(last.expired());
  const std::uint64_t nearly_all = kLimits.bytes - (4U << 20U);
  EXPECT_EQ(code_of(parts->ledger.quota().reserve(nearly_all, 0)), ENOSPC) << "the host has it still";
  const auto reserved = parts->ledger.reserve(nearly_all, 0);
  EXPECT_TRUE(reserved || last.expired()) << "who needs it frees it";
  EXPECT_TRUE(last.expired());
  worker_is_free->count_down();
}

TEST_F(ObjectsTest, ADirectoryThatIsGoneAnswersTheClientStill) {
  make("directory", S_IFDIR | 0755);
  const NodePtr node = load("directory");
  ASSERT_TRUE(parts->directories.listing_of(node));
  ASSERT_TRUE(parts->places.directory_fd(node));
  objects().mark_gone(*node);
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(node->directory.listing, nullptr);
  EXPECT_EQ(parts->places.open_fd(*node), nullptr);
  ASSERT_TRUE(objects().attr_of(*node));
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
}

class ObjectsOnTmpfsTest : public PartsOnTmpfsTest {};

TEST_F(ObjectsOnTmpfsTest, ADirectoryThatIsGoneTakesItsWhiteoutsAlong) {
  make("directory", S_IFDIR | 0755);
  const NodePtr node = load("directory");
  ASSERT_TRUE(parts->directories.listing_of(node));
  const auto before = parts->ledger.quota().usage().bytes;
  parts->directories.put(*node, "gone", whiteout_child());
  EXPECT_GT(parts->ledger.quota().usage().bytes, before);
  parts->objects.mark_gone(*node);
  EXPECT_EQ(parts->ledger.quota().usage().bytes, before);
}

TEST_F(ObjectsTest, ADirectoryOfTheImageThatIsGoneKeepsItsAttributes) {
  NodePtr node = objects().new_node();
  node->id = node->lower = row("dir");
  node->type = S_IFDIR;
  node->standing = Standing::kLowerOnly;
  objects().mark_gone(*node);
  EXPECT_EQ(objects().attr_of(*node)->mtime.sec, SmallImage::kMtime);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
}

TEST_F(ObjectsTest, TheLastSessionLeavesARightCount) {
  const NodePtr unlinked = made("unlinked", 64U << 10U);
  move_to_work(unlinked);
  const NodePtr written = made("written");
  ASSERT_EQ(::truncate(on_host("written").c_str(), 5), 0);
  const UniqueFd fd(::open(on_host("written").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::write(fd.get(), "12345", 5), 5);
  written->charge.grows_late = true;
  const auto settled = objects().settle_all(Objects::Late::kOnDisk);
  ASSERT_TRUE(settled) << settled.error().describe();
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(unlinked->is_gone());
  EXPECT_EQ(written->charge.bytes, parts->ledger.tariff().object(*stat_at({root_fd(), "written"})));
}

TEST_F(ObjectsTest, ASessionsEndForgetsAll) {
  const NodePtr unlinked = made("unlinked");
  move_to_work(unlinked);
  const NodePtr orphan = made("orphan");
  ASSERT_TRUE(parts->places.file_fd(orphan) && objects().make_orphan(*orphan));
  objects().end_session();
  EXPECT_TRUE(parts->nodes.all().empty());
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(orphan->is_gone() && unlinked->is_gone());
  EXPECT_EQ(orphan->file.orphan, nullptr);
}

}  // namespace
}  // namespace layerboot::overlay
