// Which numbers a client may use: references, numbers of new objects, and what leaves the table.
#include "oci-mount/overlay/node_table.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::overlay {
namespace {

std::unique_ptr<const tree::Tree> make_tree() {
  tree::FakeLayer layer("layer");
  layer.directory("dir");
  layer.file("dir/file");
  layer.file("plain");
  layer.sort();
  const tree::LayerEntries* const layers[] = {&layer};
  return std::move(*tree::build_and_open(layers));
}

class NodeTableTest : public testing::Test {
 protected:
  [[nodiscard]] tree::NodeId row(std::string_view path) const { return tree::node_at(*tree_, path); }
  NodePtr add(NodeId id, std::uint32_t type, const NodePtr& parent = nullptr) {
    NodePtr node = Node::make(memory_);
    node->id = id;
    node->type = type;
    node->parent = parent;
    node->host_ino = 1000 + id;
    if (tree_->contains(id)) node->lower = static_cast<tree::NodeId>(id);
    table_->add(node);
    return node;
  }
  [[nodiscard]] int found(NodeId id) const {
    const auto ref = table_->find(id);
    return ref ? 0 : ref.error().code;
  }

  std::unique_ptr<const tree::Tree> tree_ = make_tree();
  MemoryBudget memory_;
  std::unique_ptr<NodeTable> table_ = std::make_unique<NodeTable>(*tree_, memory_);
  static constexpr NodeId kBorn = kUpperIdBase + 77;
};

TEST_F(NodeTableTest, ANumberThatWasNeverGivenIsStale) {
  add(kBorn, S_IFREG);
  for (const NodeId id : {NodeId{0}, NodeId{row("plain")}, NodeId{tree_->node_count() + 1}, kBorn, kBorn + 1,
                          NodeId{UINT64_MAX}}) {
    EXPECT_EQ(found(id), ESTALE) << id;
    EXPECT_EQ(table_->find_directory(id).error().code, ESTALE) << id;
  }
}

TEST_F(NodeTableTest, TheRootIsAlwaysHeld) {
  const NodePtr root = add(kRootId, S_IFDIR);
  EXPECT_EQ(table_->find(kRootId)->node, root);
  EXPECT_TRUE(table_->find_directory(kRootId));
}

TEST_F(NodeTableTest, AnUntouchedRowNeedsNoNode) {
  table_->add_row_reference(row("plain"));
  EXPECT_TRUE(table_->is_held_untouched(row("plain")));
  const auto ref = table_->find(row("plain"));
  ASSERT_TRUE(ref);
  EXPECT_EQ(ref->node, nullptr);
  EXPECT_EQ(ref->lower, row("plain"));
  EXPECT_TRUE(ref->is_lower() && ref->has_lower_data());
  EXPECT_EQ(table_->find_directory(row("plain")).error().code, ENOTDIR);
  EXPECT_FALSE(table_->is_row_released(row("plain"), 1)) << "no Node to let go of";
  EXPECT_EQ(found(row("plain")), ESTALE);
}

TEST_F(NodeTableTest, ATouchedRowIsReleasedWithItsLastReference) {
  table_->add_row_reference(row("dir"));
  const NodePtr node = add(row("dir"), S_IFDIR);
  EXPECT_TRUE(table_->is_touched(row("dir")));
  EXPECT_FALSE(table_->is_held_untouched(row("dir"))) << "its Node answers";
  table_->add_reference(*node);
  EXPECT_EQ(table_->find(row("dir"))->node, node);
  EXPECT_FALSE(table_->is_row_released(row("dir"), 1));
  EXPECT_TRUE(table_->is_referenced(*node));
  EXPECT_TRUE(table_->is_row_released(row("dir"), 10)) << "more than it has";
  EXPECT_FALSE(table_->is_referenced(*node));
  EXPECT_EQ(found(row("dir")), ESTALE);
  EXPECT_FALSE(table_->is_row_released(kBorn, 1)) << "no row";
}

TEST_F(NodeTableTest, AnObjectOfTheUpperCountsByItself) {
  const NodePtr node = add(kBorn, S_IFREG);
  table_->add_reference(*node);
  table_->add_reference(*node);
  ASSERT_EQ(found(kBorn), 0);
  EXPECT_EQ(table_->find(kBorn)->lower, tree::kNoNode);
  EXPECT_FALSE(table_->find(kBorn)->is_lower());
  table_->take_references(*node, 1);
  EXPECT_EQ(found(kBorn), 0);
  table_->take_references(*node, 5);
  EXPECT_EQ(found(kBorn), ESTALE);
  EXPECT_FALSE(table_->is_referenced(*node)) << "a client can't take back more than it has";
}

TEST_F(NodeTableTest, ADirectoryThatWasRemovedIsNone) {
  const NodePtr node = add(kBorn, S_IFDIR);
  table_->add_reference(*node);
  EXPECT_TRUE(table_->find_directory(kBorn));
  node->standing = Standing::kGone;
  EXPECT_EQ(found(kBorn), 0) << "the client holds it, and may ask for its attributes";
  EXPECT_EQ(table_->find_directory(kBorn).error().code, ENOENT);
  const NodePtr file = add(kBorn + 1, S_IFREG);
  table_->add_reference(*file);
  EXPECT_EQ(table_->find_directory(kBorn + 1).error().code, ENOTDIR);
}

TEST_F(NodeTableTest, ARowIsFoundWhoeverHoldsIt) {
  EXPECT_EQ(table_->row(row("dir")).lower, row("dir"));
  EXPECT_EQ(table_->row(row("dir")).node, nullptr);
  EXPECT_EQ(table_->known(row("dir")), nullptr);
  const NodePtr node = add(row("dir"), S_IFDIR);
  node->lower = tree::kNoNode;  // opaque
  EXPECT_EQ(table_->row(row("dir")).node, node);
  EXPECT_EQ(table_->row(row("dir")).lower, tree::kNoNode) << "what it merges with, not its number";
}

TEST_F(NodeTableTest, AnObjectIsNumberedByWhereItComesFrom) {
  EXPECT_EQ(table_->number_for(tree::kNoNode, 5), kUpperIdBase + 5);
  EXPECT_EQ(table_->number_for(row("plain"), 5), row("plain"));
  const NodePtr copy = add(row("plain"), S_IFREG);
  EXPECT_EQ(table_->number_for(row("plain"), copy->host_ino), row("plain")) << "the copy itself";
  EXPECT_EQ(table_->number_for(row("plain"), 5), kUpperIdBase + 5) << "another that says it came from there";
  copy->standing = Standing::kLowerOnly;
  EXPECT_EQ(table_->number_for(row("plain"), copy->host_ino), kUpperIdBase + copy->host_ino);
}

TEST_F(NodeTableTest, AnInodeKeepsItsNumberWhateverItSaysOfItsOrigin) {
  const NodePtr copy = add(row("plain"), S_IFREG);
  EXPECT_EQ(table_->number_for(row("dir/file"), copy->host_ino), row("plain"));
  EXPECT_EQ(table_->number_for(tree::kNoNode, copy->host_ino), row("plain"));
  EXPECT_EQ(table_->known_at(copy->host_ino), copy);
  table_->erase(copy);
  EXPECT_EQ(table_->known_at(copy->host_ino), nullptr);
  EXPECT_EQ(table_->number_for(row("dir/file"), copy->host_ino), row("dir/file"));
}

TEST_F(NodeTableTest, AHeldNumberOfARemovedDirectoryIsNotGivenAgain) {
  const NodePtr removed = add(kBorn, S_IFDIR);
  EXPECT_EQ(table_->number_for(tree::kNoNode, 77), kBorn) << "the object that has it";
  removed->standing = Standing::kGone;
  const NodeId spare = table_->number_for(tree::kNoNode, 77);
  EXPECT_GE(spare, kSpareIdBase);
  // Who has it keeps it, also when the first one has been forgotten.
  const NodePtr node = add(spare, S_IFREG);
  node->host_ino = 77;
  table_->erase(node);
  table_->add(node);
  EXPECT_EQ(table_->number_for(tree::kNoNode, 77), spare);
  table_->erase(removed);
  EXPECT_EQ(table_->number_for(tree::kNoNode, 77), spare);
  node->standing = Standing::kGone;
  EXPECT_EQ(table_->number_for(tree::kNoNode, 77), kBorn) << "another object has the inode now";
  table_->erase(node);
}

TEST_F(NodeTableTest, MovingKeepsTheCountOfChildren) {
  const NodePtr from = add(row("dir"), S_IFDIR);
  const NodePtr to = add(kBorn, S_IFDIR);
  const NodePtr node = add(kBorn + 1, S_IFREG, from);
  EXPECT_EQ(from->holders.loaded_children, 1U);
  table_->move(node, to, "name");
  EXPECT_EQ(from->holders.loaded_children, 0U);
  EXPECT_EQ(to->holders.loaded_children, 1U);
  EXPECT_TRUE(node->is_reached_as(to, "name"));
  EXPECT_TRUE(node->way.is_durable()) << "a move alone is the client's to sync";
  node->way.change();
  const auto changes = node->way.changes;
  table_->move(node, nullptr, {});
  EXPECT_EQ(to->holders.loaded_children, 0U);
  EXPECT_GT(node->way.changes, changes) << "who syncs the old place now does not sync the new one";
}

/// By a client that moves one file to and fro, or removes what it has never looked at.
TEST_F(NodeTableTest, WhatMayBeLooseIsNoMoreThanThereIs) {
  const NodePtr a = add(kBorn, S_IFDIR);
  const NodePtr b = add(kBorn + 1, S_IFDIR);
  const NodePtr node = add(kBorn + 2, S_IFREG, a);
  for (int i = 0; i < 1000; ++i) {
    table_->move(node, b, "name");
    table_->move(node, a, "name");
  }
  table_->move(node, nullptr, {});
  table_->erase(node);
  const auto loose = table_->take_loose();
  EXPECT_LE(loose.size(), table_->all().size());
  EXPECT_FALSE(loose.contains(node->id));
  EXPECT_TRUE(loose.contains(a->id));
}

TEST_F(NodeTableTest, OneOfAFormerSessionTakesNoOtherNodesInode) {
  const NodePtr former = add(row("plain"), S_IFREG);
  table_->clear();
  const NodePtr now = add(row("plain"), S_IFREG);
  former->standing = Standing::kNamed;  // as its request has it in hand
  table_->erase(former);
  EXPECT_EQ(table_->known_at(now->host_ino), now);
}

TEST_F(NodeTableTest, ErasingTakesNoOtherNode) {
  const NodePtr first = add(kBorn, S_IFREG);
  const NodePtr second = add(kBorn, S_IFREG);
  table_->erase(first);
  EXPECT_EQ(table_->known(kBorn), second);
  table_->erase(second);
  EXPECT_EQ(table_->known(kBorn), nullptr);
}

TEST_F(NodeTableTest, WhatCannotBeFoundAgainStaysForTheSession) {
  const NodePtr born = add(kBorn, S_IFDIR);
  EXPECT_FALSE(table_->stays_for_session(*born));
  const NodePtr directory = add(row("dir"), S_IFDIR);
  EXPECT_TRUE(table_->stays_for_session(*directory));
  const NodePtr copy = add(row("plain"), S_IFREG);
  EXPECT_FALSE(table_->stays_for_session(*copy)) << "found by its name, as at a restart";
  copy->lost_names = 1;
  EXPECT_TRUE(table_->stays_for_session(*copy));
  copy->lost_names = 0;
  for (const Standing standing : {Standing::kInWork, Standing::kOrphan, Standing::kLowerOnly}) {
    copy->standing = standing;
    EXPECT_TRUE(table_->stays_for_session(*copy));
  }
}

TEST_F(NodeTableTest, WhatNoNameLeadsToDoesNotStay) {
  const NodePtr file = add(row("plain"), S_IFREG);
  file->standing = Standing::kGone;
  EXPECT_FALSE(table_->stays_for_session(*file));
  file->standing = Standing::kLowerOnly;
  file->lower = row("plain");
  file->lost_names = tree_->node(row("plain")).nlink;
  EXPECT_FALSE(table_->stays_for_session(*file));
  const NodePtr directory = add(row("dir"), S_IFDIR);
  for (const Standing standing : {Standing::kOrphan, Standing::kLowerOnly, Standing::kGone}) {
    directory->standing = standing;
    EXPECT_FALSE(table_->stays_for_session(*directory));
  }
}

TEST_F(NodeTableTest, ClearForgetsReferencesToo) {
  table_->add_row_reference(row("plain"));
  const NodePtr node = add(row("dir"), S_IFDIR);
  table_->add_reference(*node);
  table_->clear();
  EXPECT_TRUE(table_->all().empty());
  EXPECT_EQ(found(row("plain")), ESTALE);
  EXPECT_EQ(found(row("dir")), ESTALE);
  EXPECT_FALSE(table_->is_touched(row("dir")));
  EXPECT_TRUE(node->is_gone()) << "for whoever still has it in hand";
}

// One that was destroyed by recursion would run out of stack.
TEST_F(NodeTableTest, ADeepChainOfDirectoriesCanBeCleared) {
  NodePtr parent;
  for (NodeId i = 0; i < 200'000; ++i) parent = add(kBorn + i, S_IFDIR, parent);
  parent.reset();
  table_->clear();
  EXPECT_TRUE(table_->all().empty());
}

TEST_F(NodeTableTest, PaysForRowsAndNodesAndLongNames) {
  const std::uint64_t with_rows = memory_.used_bytes();
  NodePtr node = add(kBorn, S_IFREG);
  EXPECT_EQ(memory_.used_bytes(), with_rows + NodeTable::kNodeBytes);
  table_->move(node, nullptr, std::string(200, 'n'));
  EXPECT_GE(memory_.used_bytes(), with_rows + NodeTable::kNodeBytes + 200);
  table_->erase(node);
  node.reset();
  EXPECT_EQ(memory_.used_bytes(), with_rows);
  table_.reset();
  EXPECT_EQ(memory_.used_bytes(), MemoryBudget::kProgramBytes);
}

}  // namespace
}  // namespace layerboot::overlay
