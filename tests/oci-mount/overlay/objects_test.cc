// How objects of the upper come into memory as Nodes, and what is known of them there.
#include "oci-mount/overlay/objects.h"

#include <string>
#include <thread>
#include <vector>

#include "tests/oci-mount/overlay/objects_fixture.h"

namespace layerboot::overlay {
namespace {

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
  make("held", S_IFDIR | 0755);
  make("parent", S_IFDIR | 0755);
  make("parent/child", S_IFREG | 0644);
  const NodePtr child = load("parent/child");
  parts->nodes.add_reference(*child);
  // One of the image's stays in memory.
  const NodePtr idle = parts->copy_up.directory(parts->nodes.row(row("hard"))).value_or(nullptr);
  ASSERT_NE(idle, nullptr);
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

TEST_F(ObjectsTest, WhatARequestHasLeftInMemoryGoesWithTheNext) {
  make("directory", S_IFDIR | 0755);
  make("directory/file", S_IFREG | 0644);
  make("elsewhere", S_IFDIR | 0755);
  const NodePtr unused = load("elsewhere");
  const NodePtr file = load("directory/file");
  parts->nodes.add_reference(*file);
  const NodePtr directory = file->parent;
  objects().ask_for_room();
  EXPECT_EQ(parts->nodes.known(unused->id), nullptr) << "the request that loaded it has failed";
  EXPECT_EQ(parts->nodes.known(directory->id), directory) << "it has a child";
  parts->nodes.move(file, root(), "file");
  objects().ask_for_room();
  EXPECT_EQ(parts->nodes.known(directory->id), nullptr) << "it has none any more";
  EXPECT_EQ(parts->nodes.known(file->id), file);
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

}  // namespace
}  // namespace layerboot::overlay
