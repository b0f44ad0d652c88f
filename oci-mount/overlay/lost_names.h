// LostNames: names that an image's file has lost, while others still lead to it: its link count must tell.
// Under the Overlay's lock.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "oci-mount/overlay/clean_stop.h"
#include "oci-mount/overlay/directories.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/lower_paths.h"
#include "oci-mount/overlay/node_table.h"
#include "oci-mount/overlay/objects.h"

namespace layerboot::overlay {

class LostNames {
 public:
  /// All outlive it.
  LostNames(const Lower& lower, NodeTable& nodes, Objects& objects, Directories& directories)
      : lower_(lower), nodes_(nodes), objects_(objects), directories_(directories) {}

  /// A name of the row was just hidden or replaced. Keeps the link count right for a client that still holds
  /// the object, or finds it by another name.
  void lose(tree::NodeId row);

  /// Finds what former sessions took away. `finish_copy` is given each file of which some names have a copy
  /// and others may still lead to the image: a crash may have come between them.
  Result<void> load(const std::function<Result<void>(tree::NodeId)>& finish_copy);

  struct Lost {
    tree::NodeId row = tree::kNoNode;
    std::uint32_t count = 0;  // of its names
  };
  /// For a session to come: rows of which the client can find a name that is left.
  [[nodiscard]] std::vector<Lost> all() const;
  /// As a former session left it. What can't be so, of an image as it is now, is passed over.
  void recall(const std::vector<Lost>& lost_names);
  /// The same of one that ended in order, where rows may have had other numbers; ENOMEM as LowerPaths::at().
  Result<void> recall(LowerPaths& paths, const std::vector<CleanStop::LostNames>& lost_names);

  /// Whether the image's directory is still there for the client, wherever it is now. Directories that were
  /// renamed are known already.
  Result<bool> is_shown(tree::NodeId directory);

 private:
  NodePtr node_with_lost_names(tree::NodeId row, std::uint32_t count);
  Result<bool> is_name_shown(tree::NodeId directory, std::string_view name);

  const Lower& lower_;
  NodeTable& nodes_;
  Objects& objects_;
  Directories& directories_;
};

}  // namespace layerboot::overlay
