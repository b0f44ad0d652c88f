// rename(2) in all its forms. Never EXDEV: a directory of the image is moved by a redirect, not by copying
// it.
#include <dirent.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

bool is_inside(NodePtr directory, const NodePtr& tree_top) {
  for (; directory; directory = directory->parent) {
    if (directory == tree_top) return true;
  }
  return false;
}

}  // namespace

/// The lower file that has the name, or 0: it has to be copied up before it can be moved.
Result<NodeId> Overlay::file_to_copy_up(NodeId parent, std::string_view name) {
  LB_TRY(check_name(name));
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref directory, find_directory(parent));
  LB_ASSIGN(const Found found, look(directory, name));
  if (!found.exists()) return fail(ENOENT);
  const tree::NodeId lower = found.visible_lower();
  if (lower == tree::kNoNode || S_ISDIR(lower_.tree.node(lower).mode)) return NodeId{0};
  return NodeId{lower};
}

Task<Result<void>> Overlay::rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                                   std::string_view new_name, std::uint32_t flags) {
  LB_CO_TRY(check_name(new_name));
  constexpr std::uint32_t kKnown = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  if ((flags & ~kKnown) != 0) co_return fail(EINVAL);
  // As renameat2(2): an exchange leaves no name to guard or to fill.
  if ((flags & RENAME_EXCHANGE) != 0 && flags != RENAME_EXCHANGE) co_return fail(EINVAL);
  {
    const std::lock_guard lock(mutex_);
    LB_CO_TRY(find_directory(parent));
    LB_CO_TRY(find_directory(new_parent));
  }
  LB_CO_ASSIGN(const NodeId source, file_to_copy_up(parent, name));
  if (source != 0) {
    auto copied = co_await copy_up(reactor, source, kNoData);
    if (!copied) co_return std::unexpected(copied.error());
  }
  if ((flags & RENAME_EXCHANGE) != 0) {
    LB_CO_ASSIGN(const NodeId other, file_to_copy_up(new_parent, new_name));
    if (other != 0) {
      auto copied = co_await copy_up(reactor, other, kNoData);
      if (!copied) co_return std::unexpected(copied.error());
    }
  }
  const std::lock_guard lock(mutex_);
  co_return rename_now(parent, name, new_parent, new_name, flags);
}

Result<Overlay::RenameSide> Overlay::rename_side(NodeId directory, std::string_view name) {
  RenameSide side;
  side.name = name;
  LB_ASSIGN(side.directory, upper_directory(directory));
  LB_ASSIGN(side.found, look({side.directory, side.directory->lower}, name));
  if (side.found.in_upper()) {
    LB_ASSIGN(side.node, load_child(side.directory, side.name, *side.found.child));
  }
  return side;
}

Result<void> Overlay::rename_now(NodeId parent, std::string_view name, NodeId new_parent,
                                 std::string_view new_name, std::uint32_t flags) {
  {
    LB_ASSIGN(const Ref directory, find_directory(parent));
    LB_ASSIGN(const Found found, look(directory, name));
    if (!found.exists()) return fail(ENOENT);
    LB_ASSIGN(const Ref new_directory, find_directory(new_parent));
    LB_ASSIGN(const Found target, look(new_directory, new_name));
    if ((flags & RENAME_NOREPLACE) != 0 && target.exists()) return fail(EEXIST);
    if ((flags & RENAME_EXCHANGE) != 0 && !target.exists()) return fail(ENOENT);
    // A lower directory that is to move needs a body in the upper to carry the redirect.
    for (const tree::NodeId lower :
         {found.visible_lower(), (flags & RENAME_EXCHANGE) != 0 ? target.visible_lower() : tree::kNoNode}) {
      if (lower != tree::kNoNode && S_ISDIR(lower_.tree.node(lower).mode)) LB_TRY(upper_directory(lower));
    }
  }
  LB_ASSIGN(const RenameSide from, rename_side(parent, name));
  LB_ASSIGN(const RenameSide to, rename_side(new_parent, new_name));
  // A file copied up meanwhile and removed at once by another request: let the client try again.
  if (!from.node || ((flags & RENAME_EXCHANGE) != 0 && !to.node)) return fail(ENOENT);
  if (from.node == to.node) return {};
  LB_TRY(check_rename_target(from, to, flags));
  const bool new_name_grows = (flags & RENAME_EXCHANGE) == 0 && !to.found.exists();
  if (new_name_grows) LB_TRY(quota_.reserve(kNewObjectBytes, 0));
  if ((flags & RENAME_WHITEOUT) != 0) {
    LB_TRY(move_leaving_device(from, to));
  } else {
    LB_TRY((flags & RENAME_EXCHANGE) != 0 ? exchange(from, to) : move_over(from, to));
  }
  from.node->attr_valid = false;
  from.directory->attr_valid = false;
  to.directory->attr_valid = false;
  if (new_name_grows) LB_TRY(attr_of(*to.directory));
  return {};
}

Result<void> Overlay::check_rename_target(const RenameSide& from, const RenameSide& to, std::uint32_t flags) {
  if (from.node->is_directory() && is_inside(to.directory, from.node)) return fail(EINVAL);
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (to.node->is_directory() && is_inside(from.directory, to.node)) return fail(EINVAL);
    return {};
  }
  if (to.node && is_inside(from.directory, to.node)) return fail(ENOTEMPTY);
  const tree::NodeId lower = to.found.visible_lower();
  if (!to.node && lower == tree::kNoNode) return {};
  const bool target_is_directory = to.node ? to.node->is_directory() : S_ISDIR(lower_.tree.node(lower).mode);
  if (from.node->is_directory() && !target_is_directory) return fail(ENOTDIR);
  if (!from.node->is_directory() && target_is_directory) return fail(EISDIR);
  if (!target_is_directory) return {};
  if (!to.node)
    return lower_.tree.node(lower).child_count > 0 ? Result<void>(fail(ENOTEMPTY)) : Result<void>();
  LB_ASSIGN(const bool empty, is_empty(to.node));
  if (!empty) return fail(ENOTEMPTY);
  return {};
}

/// Before an object moves: say where its lower part is, or that what lies below its new place is none of it.
Result<void> Overlay::mark_moved(const RenameSide& from, const RenameSide& to) {
  if (!from.node->is_directory()) return redirect_data(*from.node);
  LB_ASSIGN(const HeldPlace place, place_of(from.node));
  if (from.node->lower != tree::kNoNode) {
    return set_xattr_at(place.get(), marks().redirect, lower_.tree.path(from.node->lower), 0);
  }
  if (to.found.lower_below != tree::kNoNode) return set_xattr_at(place.get(), marks().opaque, "y", 0);
  return {};
}

/// Turns a directory that is empty to the client into one that is empty on the host, too: to be replaced. At
/// no point does a hidden lower name show.
Result<void> Overlay::make_opaque(const NodePtr& directory) {
  LB_ASSIGN(const HeldPlace place, place_of(directory));
  LB_TRY(set_xattr_at(place.get(), marks().opaque, "y", 0));
  LB_TRY(clear_whiteouts(directory));
  directory->lower = tree::kNoNode;
  return {};
}

/// What RENAME_WHITEOUT leaves is the guest's own: a character device 0:0 that it sees. It is made before the
/// move, so that nothing but the host can fail in between.
Result<void> Overlay::move_leaving_device(const RenameSide& from, const RenameSide& to) {
  LB_ASSIGN(const auto reserved, quota_.reserve(kNewObjectBytes, 1));
  const Inheritance device{
      .nature = {.mode = S_IFCHR, .uid = 0, .gid = 0, .rdev = 0}, .access_acl = {}, .default_acl = {}};
  LB_ASSIGN(Unnamed made, make_unnamed(device, {}));
  if (auto moved = move_over(from, to); !moved) {
    discard(made);
    return moved;
  }
  LB_TRY(place_unnamed(from.directory, from.name, std::move(made)));
  return {};
}

Result<void> Overlay::exchange(const RenameSide& from, const RenameSide& to) {
  LB_TRY(mark_moved(from, to));
  LB_TRY(mark_moved(to, from));
  LB_ASSIGN(const HeldPlace from_place, place_in(from.directory, from.name));
  LB_ASSIGN(const HeldPlace to_place, place_in(to.directory, to.name));
  LB_TRY(rename_at(from_place.get(), to_place.get(), RENAME_EXCHANGE));
  put_child(*from.directory, from.name, child_of(to.node));
  put_child(*to.directory, to.name, child_of(from.node));
  move_node(from.node, to.directory, to.name);
  move_node(to.node, from.directory, from.name);
  to.node->attr_valid = false;
  return {};
}

/// The move on the host: leaves a whiteout behind where the lower tree has the old name.
Result<void> Overlay::move_onto_host(const RenameSide& from, const RenameSide& to) {
  LB_ASSIGN(const HeldPlace from_place, place_in(from.directory, from.name));
  LB_ASSIGN(const HeldPlace to_place, place_in(to.directory, to.name));
  const bool leaves_whiteout = from.found.lower_below != tree::kNoNode;
  const bool onto_whiteout = to.found.child != nullptr && to.found.child->whiteout;
  if (from.node->is_directory() && onto_whiteout) {
    // The host does not move a directory onto a whiteout, but it swaps them.
    LB_TRY(rename_at(from_place.get(), to_place.get(), RENAME_EXCHANGE));
    return leaves_whiteout ? Result<void>() : unlink_at(from_place.get());
  }
  return rename_at(from_place.get(), to_place.get(), leaves_whiteout ? RENAME_WHITEOUT : 0);
}

Result<void> Overlay::move_over(const RenameSide& from, const RenameSide& to) {
  LB_TRY(mark_moved(from, to));
  const tree::NodeId replaced_lower = to.found.visible_lower();
  // What is replaced lives on in the work directory for as long as the client holds it.
  HeldPlace kept = work_place();
  bool keep = false;
  if (to.node && to.node->is_directory()) {
    LB_TRY(make_opaque(to.node));
    LB_TRY(attr_of(*to.node));
  } else if (to.node && to.node->parent == to.directory && to.node->name == to.name) {
    keep = true;
    LB_ASSIGN(const HeldPlace place, place_of(to.node));
    LB_TRY(link_at(place.get(), kept.get()));
  }
  const bool leaves_whiteout = from.found.lower_below != tree::kNoNode;
  if (auto moved = move_onto_host(from, to); !moved) {
    if (keep) static_cast<void>(unlink_at(kept.get()));
    return moved;
  }
  if (to.node && to.node->is_directory()) {
    drop_directory(to.node);
  } else if (to.node) {
    to.node->attr_valid = false;
    if (keep) {
      move_node(to.node, nullptr, kept.name);
      release_if_unused(to.node);
    }
  } else if (replaced_lower != tree::kNoNode) {
    lose_lower_name(replaced_lower);
  }
  if (leaves_whiteout) {
    put_child(*from.directory, from.name, whiteout_child());
  } else {
    erase_child(*from.directory, from.name);
  }
  put_child(*to.directory, to.name, child_of(from.node));
  move_node(from.node, to.directory, to.name);
  return {};
}

}  // namespace layerboot::overlay
