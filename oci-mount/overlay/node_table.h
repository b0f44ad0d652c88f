// NodeTable: which numbers the client may use, and the Nodes behind them.
//
// A number is good only while the client holds a reference to it, which LOOKUP and its like give and FORGET
// takes back ("/" is always held): a guest that uses a number it was never given gets ESTALE. An object of
// the image that nothing has touched has no Node: its number is its row in the tree, its references are an
// atomic counter, and what is asked of it is answered from the tree without a lock.
//
// Under the Overlay's lock, but for what says that it is lock-free.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/node.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/row_states.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// An id looked up: a Node, or an untouched row of the tree (then node is null).
struct Ref {
  NodePtr node;
  tree::NodeId lower = tree::kNoNode;
  /// The image has all that is to be known of it, but for its link count.
  [[nodiscard]] bool is_lower() const { return !node || node->standing == Standing::kLowerOnly; }
  /// A file whose data is the image's.
  [[nodiscard]] bool has_lower_data() const { return is_lower() || node->file.data_below; }
};

class NodeTable {
 public:
  /// What a Node takes beside a long name: itself, its reference count, its places in the tables, the
  /// allocator's part.
  static constexpr std::size_t kNodeBytes = sizeof(Node) + 160;

  /// `tree` and `memory`, which pays for the rows' states, outlive the table.
  NodeTable(const tree::Tree& tree, MemoryBudget& memory)
      : tree_(tree),
        rows_(tree.node_count() + std::size_t{1}),
        memory_share_(memory, (tree.node_count() + std::uint64_t{1}) * RowStates::kRowBytes) {}

  // ---- lock-free
  /// A row that the client holds and that nothing has touched.
  [[nodiscard]] bool is_held_untouched(NodeId id) const {
    return tree_.contains(id) && rows_.is_held_untouched(static_cast<tree::NodeId>(id));
  }
  [[nodiscard]] bool is_touched(tree::NodeId row) const { return rows_.is_touched(row); }
  /// REQUIRES: the row is untouched, or the caller has the lock.
  void add_row_reference(tree::NodeId row) { rows_.add_reference(row); }
  /// Takes references to a row back. False where nothing more is to be done: it was no row, or one of no
  /// Node, or is still referenced.
  [[nodiscard]] bool is_row_released(NodeId id, std::uint64_t count);

  // ---- under the lock
  /// What the client means by `id`; ESTALE where it holds no reference.
  Result<Ref> find(NodeId id) const;
  /// The same for a directory; ENOTDIR, or ENOENT where it was removed.
  Result<Ref> find_directory(NodeId id) const;
  /// The row, whoever holds it.
  [[nodiscard]] Ref row(tree::NodeId row) const;
  /// Null where nothing is known of it.
  [[nodiscard]] NodePtr known(NodeId id) const;

  /// Whether the Node of that number is of the object at `host_ino`.
  [[nodiscard]] bool is_number_of(NodeId id, std::uint64_t host_ino) const;
  /// The Node of the object at `host_ino`, whatever its number; null where nothing is known of it.
  [[nodiscard]] NodePtr known_at(std::uint64_t host_ino) const;
  /// The number of an object at `host_ino` that came from the row `origin`, or from none: the row, unless
  /// another object has that number now; else one by its inode, or a spare one where a removed object that
  /// the client still holds has that. An inode has one number for as long as its Node lives.
  [[nodiscard]] NodeId number_for(tree::NodeId origin, std::uint64_t host_ino);
  /// `node` has its number, and its parent if it is to have one. Pays for it.
  void add(const NodePtr& node);
  /// What hangs on it has become larger or smaller.
  void pay_for(Node& node);
  /// Another parent and name, or none of both.
  void move(const NodePtr& node, const NodePtr& parent, std::string name);
  /// It may be in memory for nothing from now on.
  void may_go(const Node& node) { loose_.insert(node.id); }
  /// Of those in the table, which may be in memory for nothing since the last call: they came in, or lost
  /// their last child or a name.
  using Loose = std::unordered_set<NodeId>;
  [[nodiscard]] Loose take_loose() { return std::exchange(loose_, {}); }
  /// The client does not reach the number any more. Nothing where another Node has it by now.
  void erase(const NodePtr& node);

  void add_reference(Node& node);
  /// Of an object born in the upper; is_row_released() is for rows.
  void take_references(Node& node, std::uint64_t count);
  [[nodiscard]] bool is_referenced(const Node& node) const;
  /// It can't be found again as it is: a row that has lost some of its names, or a directory, which may have
  /// been moved, also away from what the image does not have now. What has lost all of them nothing leads to.
  /// A file of the image that was copied up is found by its name, as at a restart.
  [[nodiscard]] bool stays_for_session(const Node& node) const;

  [[nodiscard]] const std::unordered_map<NodeId, NodePtr>& all() const { return nodes_; }
  /// Forgets everything, references too; the Nodes are gone for whoever still has one in hand.
  void clear();

 private:
  const tree::Tree& tree_;
  RowStates rows_;
  MemoryBudget::Share memory_share_;
  std::unordered_map<NodeId, NodePtr> nodes_;
  Loose loose_;
  NodeId next_spare_id_ = kSpareIdBase;
  std::unordered_map<std::uint64_t, NodeId> by_ino_;  // of Nodes that are not numbered by it
};

}  // namespace layerboot::overlay
