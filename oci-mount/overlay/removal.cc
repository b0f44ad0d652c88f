// Removing names: unlink, rmdir, and the whiteouts that they leave.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

/// Moves what is at `place` to `work`, leaving a whiteout, at one stroke.
Result<void> Overlay::swap_for_whiteout(Place place, Place work) {
  LB_TRY(upper_.make_whiteout(work));
  auto swapped = rename_at(work, place, RENAME_EXCHANGE);
  if (!swapped) static_cast<void>(unlink_at(work));
  return swapped;
}

/// The object is no more: what it held is free.
void Overlay::book_out(Node& node) {
  quota_.settle_bytes(node.charged_bytes, 0);
  quota_.remove_inode();
  node.charged_bytes = 0;
}

/// A directory of the upper that has lost its name.
void Overlay::drop_directory(const NodePtr& node) {
  book_out(*node);
  forget_removed_directory(node);
  move_node(node, nullptr, {});
  release_if_unused(node);
}

/// Takes `name`, an object of the upper and no directory, away. What the client still holds moves to the work
/// directory, until forget().
Result<void> Overlay::remove_name(const NodePtr& directory, const std::string& name, Found found) {
  LB_ASSIGN(const NodePtr node, load_child(directory, name, *found.child));
  LB_ASSIGN(const HeldPlace place, place_in(directory, name));
  LB_ASSIGN(const Attr before, attr_of(*node));
  const bool reached_here = node->parent == directory && node->name == name;
  const bool held = lower_.tree.contains(node->id) || node->references > 0;
  const bool keep = reached_here && (held || before.nlink > 1);
  if (reached_here && before.nlink == 1 && found.lower_below == tree::kNoNode && make_orphan(*node)) {
    if (auto gone = unlink_at(place.get()); !gone) {
      node->orphan.reset();
      --orphans_;
      return gone;
    }
    erase_child(*directory, name);
    directory->times_stale = true;
    node->attr_valid = false;
    move_node(node, nullptr, {});
    return {};
  }
  const HeldPlace work = work_place();
  if (found.lower_below != tree::kNoNode) {
    LB_TRY(swap_for_whiteout(place.get(), work.get()));
    if (!keep) LB_TRY(unlink_at(work.get()));
    put_child(*directory, name, whiteout_child());
  } else {
    LB_TRY(keep ? rename_at(place.get(), work.get(), 0) : unlink_at(place.get()));
    erase_child(*directory, name);
  }
  directory->attr_valid = false;
  node->attr_valid = false;
  if (keep) {
    move_node(node, nullptr, work.name);
    release_if_unused(node);
  } else if (reached_here) {
    book_out(*node);
    node->removed = true;
    node->attr.nlink = 0;
    release_if_unused(node);
  }
  return {};
}

/// A file that is open here anyway needs no name in the work directory to live on. False where it has to be
/// kept, or need not be kept at all, in another way.
bool Overlay::make_orphan(Node& node) {
  if (!node.is_regular() || lower_.tree.contains(node.id) || node.references == 0 ||
      orphans_ == kMaxOrphans) {
    return false;
  }
  node.orphan = fds_.get(node.id);
  if (!node.orphan) return false;
  fds_.drop(node.id);
  ++orphans_;
  return true;
}

void Overlay::free_orphan(Node& node) {
  node.orphan.reset();
  --orphans_;
  book_out(node);
  node.removed = true;
}

/// Hides a name that only the lower tree has.
Result<void> Overlay::remove_lower_name(const NodePtr& directory, const std::string& name,
                                        tree::NodeId lower) {
  LB_TRY(listing_of(directory));  // it may have been copied up just now
  LB_ASSIGN(const HeldPlace place, place_in(directory, name));
  LB_TRY(upper_.make_whiteout(place.get()));
  put_child(*directory, name, whiteout_child());
  directory->attr_valid = false;
  lose_lower_name(lower);
  return {};
}

void Overlay::forget_removed_directory(const NodePtr& node) {
  node->attr = node->in_upper ? node->attr : lower_.attr(node->lower);
  node->attr.nlink = 0;
  node->attr_valid = true;
  node->removed = true;
  node->listing.reset();
  fds_.drop(node->id);
}

/// Removes the whiteouts of a directory that is empty to the client.
Result<void> Overlay::clear_whiteouts(const NodePtr& directory) {
  LB_ASSIGN(Listing* const listing, listing_of(directory));
  LB_ASSIGN(const auto fd, directory_fd(directory));
  while (!listing->children.empty()) {
    const std::string name = listing->children.begin()->first;
    LB_TRY(unlink_at({fd->get(), name.c_str()}));
    erase_child(*directory, name);
  }
  return {};
}

/// Takes away `name`, an empty directory of the upper.
Result<void> Overlay::remove_directory(const NodePtr& directory, const std::string& name, Found found) {
  LB_ASSIGN(const NodePtr node, load_child(directory, name, *found.child));
  LB_ASSIGN(const HeldPlace place, place_in(directory, name));
  LB_TRY(attr_of(*node));
  const HeldPlace work = work_place();
  // First out of sight, then apart: a crash in between leaves nothing but a leftover in the work directory.
  if (found.lower_below != tree::kNoNode) {
    LB_TRY(swap_for_whiteout(place.get(), work.get()));
    put_child(*directory, name, whiteout_child());
  } else {
    LB_TRY(rename_at(place.get(), work.get(), 0));
    erase_child(*directory, name);
  }
  directory->attr_valid = false;
  drop_directory(node);
  return remove_tree_at(work.get());
}

Result<void> Overlay::unlink(NodeId parent, std::string_view name) { return remove(parent, name, false); }
Result<void> Overlay::rmdir(NodeId parent, std::string_view name) { return remove(parent, name, true); }

Result<void> Overlay::remove(NodeId parent, std::string_view name_view, bool is_directory) {
  LB_TRY(check_name(name_view));
  const std::string name(name_view);
  const int wrong_kind = is_directory ? ENOTDIR : EISDIR;
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find_directory(parent));
  LB_ASSIGN(const Found found, look(ref, name));
  if (!found.exists()) return fail(ENOENT);
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, load_child(ref.node, name, *found.child));
    if (node->is_directory() != is_directory) return fail(wrong_kind);
    if (!is_directory) return remove_name(ref.node, name, found);
    LB_ASSIGN(const bool empty, is_empty(node));
    if (!empty) return fail(ENOTEMPTY);
    return remove_directory(ref.node, name, found);
  }
  const auto& record = lower_.tree.node(found.lower_below);
  if (S_ISDIR(record.mode) != is_directory) return fail(wrong_kind);
  if (is_directory && record.child_count > 0) return fail(ENOTEMPTY);
  LB_ASSIGN(const NodePtr directory, upper_directory(parent, Budget::kMayExceed));
  return remove_lower_name(directory, name, found.lower_below);
}

}  // namespace layerboot::overlay
