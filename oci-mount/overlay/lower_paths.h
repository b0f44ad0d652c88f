// Paths of the image as the upper's marks hold them (FORMAT.md), and where they lead.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// Not thread-safe. The tree outlives it.
class LowerPaths {
 public:
  /// A path is kept in words up to here, else by its digest: what a host keeps for one object (4 KiB on ext4)
  /// has to hold two of them and what the guest sets.
  static constexpr std::size_t kMaxPathBytes = 1024;
  /// Shorter ones are never kept by their digest: it is what is done where the host has no room.
  static constexpr std::size_t kMinDigestedBytes = 128;

  explicit LowerPaths(const tree::Tree& tree) : tree_(tree) {}
  [[nodiscard]] const tree::Tree& tree() const { return tree_; }

  /// Sets the attribute `mark` of the object to the path of `lower`, or to the path's digest where that is
  /// too long, or too long for the host.
  Result<void> set_mark(Place place, std::string_view mark, tree::NodeId lower) const;

  /// The row that a mark names by a path or by a digest; kNoNode where there is none, and for a lone name.
  [[nodiscard]] tree::NodeId at(std::string_view mark);

  /// The row that an object of the upper stands for: where its redirect leads, a lone name being one beside
  /// its own place, or else its namesake. `directory` is what the directory it is in merges with, or kNoNode.
  /// kNoNode where there is none.
  [[nodiscard]] tree::NodeId named(tree::NodeId directory, std::string_view name,
                                   const std::optional<std::string>& redirect);

 private:
  void learn_digests();

  const tree::Tree& tree_;
  // Of all paths from kMinDigestedBytes on, once a digest was met.
  std::optional<std::unordered_map<std::string, tree::NodeId>> by_digest_;
};

}  // namespace layerboot::overlay
