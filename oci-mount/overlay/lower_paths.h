// Paths of the image as the upper's marks hold them (FORMAT.md), and where they lead.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// Not thread-safe. The tree, and the budget that pays for what it learns, outlive it.
class LowerPaths {
 public:
  /// A path is kept in words up to here, else by its digest: what a host keeps for one object (4 KiB on ext4)
  /// has to hold two of them and what the guest sets.
  static constexpr std::size_t kMaxPathBytes = 1024;
  /// Shorter ones are never kept by their digest: it is what is done where the host has no room.
  static constexpr std::size_t kMinDigestedBytes = 128;

  /// What each path takes that may be kept by its digest, once a digest was met.
  static constexpr std::size_t kDigestedBytes = 16;

  LowerPaths(const tree::Tree& tree, MemoryBudget& memory)
      : tree_(tree), memory_(memory), memory_share_(memory) {}
  [[nodiscard]] const tree::Tree& tree() const { return tree_; }

  /// Sets the attribute `mark` of the object to the path of `lower`, or to the path's digest where that is
  /// too long, or too long for the host.
  Result<void> set_mark(Place place, std::string_view mark, tree::NodeId lower) const;

  /// The row that a mark names by a path or by a digest; kNoNode where there is none, and for a lone name.
  /// ENOMEM where there is no room to find a digest: then nothing is said of the row.
  Result<tree::NodeId> at(std::string_view mark);

  /// The row that an object of the upper stands for: where its redirect leads, a lone name being one beside
  /// its own place, or else its namesake. `directory` is what the directory it is in merges with, or kNoNode.
  /// kNoNode where there is none; ENOMEM as at().
  Result<tree::NodeId> named(tree::NodeId directory, std::string_view name,
                             const std::optional<std::string>& redirect);

 private:
  /// As much of a digest as tells most paths apart.
  struct Digested {
    std::uint64_t begin;
    tree::NodeId row;
  };
  static_assert(sizeof(Digested) == kDigestedBytes);

  template <typename Visit>
  Result<void> each_long_path(Visit visit) const;
  Result<void> learn_digests();
  Result<tree::NodeId> at_digest(std::string_view mark);

  const tree::Tree& tree_;
  MemoryBudget& memory_;
  MemoryBudget::Share memory_share_;
  // Of all rows whose path has kMinDigestedBytes or more, once a digest was met; by `begin`.
  std::optional<std::vector<Digested>> digested_;
};

}  // namespace layerboot::overlay
