// Tree: an image flattened to one immutable tree, read from a mapped tree index.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "oci-mount/base/mapping.h"
#include "oci-mount/base/result.h"
#include "oci-mount/tree/tree_check.h"
#include "oci-mount/tree/tree_format.h"

namespace layerboot::tree {

/// A node's row in the table, from 1; 1 is the root. It is also the FUSE node id and the inode number.
using NodeId = std::uint32_t;
inline constexpr NodeId kRoot = 1;
inline constexpr NodeId kNoNode = 0;

/// Thread-safe: nothing ever changes. Views it gives live as long as it does. No call but path() allocates.
class Tree {
 public:
  /// Maps an index file and checks it whole (every id, offset and order), so that no later access needs a
  /// check. `expected_key` is what the index must have been made for (tree_builder.h).
  static Result<std::unique_ptr<const Tree>> open(int fd, std::string_view expected_key);

  [[nodiscard]] NodeId node_count() const { return static_cast<NodeId>(tables_.nodes.size()); }
  [[nodiscard]] bool contains(std::uint64_t id) const { return id >= kRoot && id <= node_count(); }

  /// REQUIRES here and below: contains(id).
  [[nodiscard]] const NodeRecord& node(NodeId id) const { return tables_.nodes[id - 1]; }

  /// The child called `name`, or kNoNode. Also for nodes that are no directories: kNoNode.
  [[nodiscard]] NodeId lookup(NodeId directory, std::string_view name) const;

  /// A directory's entries, sorted by name as bytes, without "." and "..".
  [[nodiscard]] std::span<const DirentRecord> entries(NodeId directory) const;
  [[nodiscard]] std::string_view name(const DirentRecord& entry) const;

  /// The directory that holds the node (of a node with several names: the first's); the root is its own.
  [[nodiscard]] NodeId parent(NodeId id) const;
  /// The node's name in parent(id); "" for the root.
  [[nodiscard]] std::string_view name_in_parent(NodeId id) const;
  /// "/usr/bin/env": from the root, by parent() and name_in_parent(). "/" for the root.
  [[nodiscard]] std::string path(NodeId id) const;

  [[nodiscard]] std::string_view symlink_target(NodeId symlink) const;

  /// By file_offset, not overlapping; what none covers is a hole.
  [[nodiscard]] std::span<const ExtentRecord> extents(NodeId file) const;

  [[nodiscard]] std::span<const XattrRecord> xattrs(NodeId id) const;
  [[nodiscard]] std::string_view xattr_name(const XattrRecord& xattr) const;
  [[nodiscard]] std::string_view xattr_value(const XattrRecord& xattr) const;
  [[nodiscard]] std::optional<std::string_view> xattr(NodeId id, std::string_view name) const;

  /// Every name of a node that is no directory and has more than one; otherwise empty.
  [[nodiscard]] std::span<const LinkRecord> links(NodeId id) const;
  [[nodiscard]] std::string_view name(const LinkRecord& link) const;
  /// The links() of all nodes, one node after the other.
  [[nodiscard]] std::span<const LinkRecord> all_links() const { return tables_.links; }

  /// Sum of 512-byte blocks of all files, for statfs.
  [[nodiscard]] std::uint64_t total_blocks() const { return tables_.total_blocks; }

  /// Every extent's layer is below this: who opens the layers checks it once.
  [[nodiscard]] std::uint32_t layer_count() const { return tables_.layer_count; }

 private:
  Tree(Mapping mapping, const TreeTables& tables) : mapping_(std::move(mapping)), tables_(tables) {}

  Mapping mapping_;
  TreeTables tables_;
};

}  // namespace layerboot::tree
