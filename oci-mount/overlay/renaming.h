// Renaming: rename(2) in all its forms. Never EXDEV: a directory of the image is moved by a redirect, not by
// copying it. Under the Overlay's lock.
#pragma once

#include <string>
#include <string_view>

#include "oci-mount/overlay/new_objects.h"
#include "oci-mount/overlay/parts.h"
#include "oci-mount/overlay/removal.h"

namespace layerboot::overlay {

class Renaming {
 public:
  Renaming(Parts& parts, NewObjects& new_objects, Removal& removal)
      : parts_(parts), new_objects_(new_objects), removal_(removal) {}

  /// The file of the image that has the name, or 0: it has to be copied up, and to be held meanwhile, before
  /// it can be moved.
  Result<NodeId> file_to_copy_up(NodeId parent, std::string_view name);

  /// Null when the name has moved. Else the directory that it is to replace, opaque by now, of which more
  /// whiteouts have to go first than should under the lock (Removal::clear_whiteouts_beside_others); then
  /// rename() is to be asked again, with Clearing::kHere.
  /// REQUIRES: neither name, or with RENAME_EXCHANGE none of both, leads to a file that has yet to be copied
  /// up.
  enum class Clearing { kElsewhere, kHere };
  Result<NodePtr> rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                         std::uint32_t flags, Clearing clearing);

 private:
  struct Side {
    NodePtr directory;
    std::string name;
    Found found;
    NodePtr node;  // null where nothing of the upper has the name
  };

  Result<void> prepare(NodeId parent, std::string_view name, std::uint32_t flags, bool is_target);
  Result<Side> side(NodeId directory, std::string_view name);
  Result<void> check_target(const Side& from, const Side& to, std::uint32_t flags);
  /// An attribute of ours, charged.
  Result<void> mark(Node& directory, Place place, std::string_view name, std::string_view value);
  Result<void> mark_moved(const Side& from, const Side& to);
  Result<void> make_opaque(const NodePtr& directory);
  Result<bool> has_many_whiteouts(const NodePtr& directory);
  Result<void> move_leaving_device(const Side& from, const Side& to);
  Result<void> exchange(const Side& from, const Side& to);
  Result<void> move_over(const Side& from, const Side& to);
  Result<bool> move_onto_host(const Side& from, const Side& to);
  void move_names(const Side& from, const Side& to, bool leaves_whiteout);

  Parts& parts_;
  NewObjects& new_objects_;
  Removal& removal_;
};

}  // namespace layerboot::overlay
