// Renaming: rename(2) in all its forms. A directory of the image is moved by a redirect, not by copying it;
// EXDEV only where the host has no room for an attribute of ours on a directory, or on a file whose data is
// lost, as overlayfs has it (ovl_set_redirect() of Linux). Under the Overlay's lock.
#pragma once

#include <optional>
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

  /// Whether memory has more names, longer ones or more objects afterwards: such a rename is refused at the
  /// memory limit, and others are not.
  Result<bool> brings_more(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                           std::uint32_t flags);

  /// What has to be done without the lock before a name can move: at most one of these. Then rename() is to
  /// be asked again.
  struct Before {
    /// The directory that it is to replace, opaque by now: more of its whiteouts have to go than should under
    /// the lock (Removal::clear_whiteouts_beside_others). The next time with Clearing::kHere.
    NodePtr clear;
    /// A metacopy that moves, and has no room for a redirect: it needs its data (CopyUp).
    NodePtr fill;
    [[nodiscard]] bool is_nothing() const { return !clear && !fill; }
  };
  /// Nothing is left to be done when the name has moved.
  /// REQUIRES: neither name, or with RENAME_EXCHANGE none of both, leads to a file that has yet to be copied
  /// up.
  enum class Clearing { kElsewhere, kHere };
  Result<Before> rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
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
  Result<bool> mark_moved(const Side& from, const Side& to);
  Result<void> mark_directory_moved(const Side& from, const Side& to);
  Result<void> make_opaque(const NodePtr& directory);
  Result<bool> has_many_whiteouts(const NodePtr& directory);
  Result<void> move_leaving_device(const Side& from, const Side& to);
  Result<void> exchange(const Side& from, const Side& to);
  Result<void> move_over(const Side& from, const Side& to);
  Result<bool> move_onto_host(const Side& from, const Side& to);
  Result<void> move_and_fill(const Side& from, const Side& to, Place filling);
  Result<void> move_by_swapping(const Side& from, const Side& to, Place work);
  static void move_back(Place from, Place to, bool swaps, bool whiteout_goes);
  /// What of the upper stands under the new name, and how it lives on.
  struct Replaced {
    std::optional<Removal::Leaving> file;
    SharedFd directory;
  };
  Result<Replaced> prepare_to_replace(const Side& to);
  void forget_replaced(const Side& to, Replaced replaced, const std::string& work_name);
  void share_whiteout(Place place);
  void move_names(const Side& from, const Side& to, bool leaves_whiteout);

  Parts& parts_;
  NewObjects& new_objects_;
  Removal& removal_;
};

}  // namespace layerboot::overlay
