#include "oci-mount/overlay/renaming.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <utility>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::overlay {

namespace {

bool is_inside(NodePtr directory, const NodePtr& tree_top) {
  for (; directory; directory = directory->parent) {
    if (directory == tree_top) return true;
  }
  return false;
}

}  // namespace

Result<NodeId> Renaming::file_to_copy_up(NodeId parent, std::string_view name) {
  LB_ASSIGN(const Ref directory, parts_.nodes.find_directory(parent));
  LB_ASSIGN(const Found found, parts_.directories.look(directory, name));
  if (!found.exists()) return fail(ENOENT);
  const tree::NodeId row = found.visible_lower();
  if (row == tree::kNoNode || S_ISDIR(parts_.lower.tree.node(row).mode)) return NodeId{0};
  return NodeId{row};
}

Result<bool> Renaming::brings_more(NodeId parent, std::string_view name, NodeId new_parent,
                                   std::string_view new_name, std::uint32_t flags) {
  LB_ASSIGN(const Ref directory, parts_.nodes.find_directory(parent));
  LB_ASSIGN(const Ref new_directory, parts_.nodes.find_directory(new_parent));
  LB_ASSIGN(const Found from, parts_.directories.look(directory, name));
  LB_ASSIGN(const Found to, parts_.directories.look(new_directory, new_name));
  const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
  const auto is_copied_up = [](const Found& found) { return found.visible_lower() != tree::kNoNode; };
  if (directory.is_lower() || new_directory.is_lower() || is_copied_up(from)) return true;
  if (exchanges) return is_copied_up(to);
  if ((flags & RENAME_WHITEOUT) != 0) return true;
  if (to.child != nullptr) return false;
  return from.lower_below != tree::kNoNode || new_name.size() > name.size();
}

Result<Renaming::Side> Renaming::side(NodeId directory, std::string_view name) {
  Side side;
  side.name = name;
  LB_ASSIGN(const Ref ref, parts_.nodes.find_directory(directory));
  LB_ASSIGN(side.directory, parts_.copy_up.directory(ref));
  LB_ASSIGN(side.found, parts_.directories.look(side.directory, name));
  if (side.found.in_upper()) {
    LB_ASSIGN(side.node, parts_.objects.load(side.directory, side.name, *side.found.child));
  }
  return side;
}

/// What can be said of one side before anything is copied up; then its directory of the image, if it is one
/// that moves, gets a body in the upper to carry the redirect.
Result<void> Renaming::prepare(NodeId parent, std::string_view name, std::uint32_t flags, bool is_target) {
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  LB_ASSIGN(const Ref directory, parts_.nodes.find_directory(parent));
  LB_ASSIGN(const Found found, parts_.directories.look(directory, name));
  if (!found.exists() && (!is_target || exchange)) return fail(ENOENT);
  if (found.exists() && is_target && (flags & RENAME_NOREPLACE) != 0) return fail(EEXIST);
  const tree::NodeId row = found.visible_lower();
  if (row == tree::kNoNode || (is_target && !exchange)) return {};
  if (S_ISDIR(parts_.lower.tree.node(row).mode)) LB_TRY(parts_.copy_up.directory_of(row));
  return {};
}

Result<Renaming::Before> Renaming::rename(NodeId parent, std::string_view name, NodeId new_parent,
                                          std::string_view new_name, std::uint32_t flags, Clearing clearing) {
  LB_TRY(prepare(parent, name, flags, false));
  LB_TRY(prepare(new_parent, new_name, flags, true));
  LB_ASSIGN(const Side from, side(parent, name));
  LB_ASSIGN(const Side to, side(new_parent, new_name));
  // A file copied up meanwhile and removed at once by another request: let the client try again.
  if (!from.node || ((flags & RENAME_EXCHANGE) != 0 && !to.node)) return fail(ENOENT);
  if (from.node == to.node) return Before{};
  LB_TRY(check_target(from, to, flags));
  const bool replaces_directory = (flags & RENAME_EXCHANGE) == 0 && to.node && to.node->is_directory();
  if (replaces_directory && clearing == Clearing::kElsewhere) {
    LB_ASSIGN(const bool many, has_many_whiteouts(to.node));
    if (many) {
      LB_TRY(make_opaque(to.node));
      return Before{.clear = to.node, .fill = nullptr};
    }
  }
  const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
  const bool new_name_grows = !exchanges && !to.found.exists();
  if (new_name_grows) {
    // In its directory it takes the old one's place, and who puts logs away on a full disk is to make room.
    const bool stays = from.directory == to.directory;
    const std::uint64_t bytes = parts_.ledger.tariff().for_name(new_name.size());
    LB_TRY(parts_.objects.reserve(bytes, 0, stays ? Budget::kMakesRoom : Budget::kKeep));
  }
  LB_ASSIGN(const bool marked, mark_moved(from, to));
  if (!marked) return Before{.clear = nullptr, .fill = from.node};
  if (exchanges) {
    LB_ASSIGN(const bool other_marked, mark_moved(to, from));
    if (!other_marked) return Before{.clear = nullptr, .fill = to.node};
  }
  if ((flags & RENAME_WHITEOUT) != 0) {
    LB_TRY(move_leaving_device(from, to));
  } else {
    LB_TRY(exchanges ? exchange(from, to) : move_over(from, to));
  }
  from.node->known.valid = false;
  from.directory->known.valid = false;
  to.directory->known.valid = false;
  // No inode is booked for the name, so what the directory has grown by is; or when it is next looked at.
  if (new_name_grows) static_cast<void>(parts_.objects.attr_of(*to.directory));
  return Before{};
}

Result<bool> Renaming::has_many_whiteouts(const NodePtr& directory) {
  constexpr std::size_t kMany = Removal::kFewWhiteouts + 1;
  LB_ASSIGN(const auto names, parts_.directories.some_whiteouts(directory, kMany));
  return names.size() == kMany;
}

Result<void> Renaming::check_target(const Side& from, const Side& to, std::uint32_t flags) {
  if (from.node->is_directory() && is_inside(to.directory, from.node)) return fail(EINVAL);
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (to.node->is_directory() && is_inside(from.directory, to.node)) return fail(EINVAL);
    return {};
  }
  if (to.node && is_inside(from.directory, to.node)) return fail(ENOTEMPTY);
  const tree::NodeId row = to.found.visible_lower();
  if (!to.node && row == tree::kNoNode) return {};
  const bool target_is_directory =
      to.node ? to.node->is_directory() : S_ISDIR(parts_.lower.tree.node(row).mode);
  if (from.node->is_directory() && !target_is_directory) return fail(ENOTDIR);
  if (!from.node->is_directory() && target_is_directory) return fail(EISDIR);
  if (!target_is_directory) return {};
  if (!to.node)
    return parts_.lower.tree.node(row).child_count > 0 ? Result<void>(fail(ENOTEMPTY)) : Result<void>();
  LB_ASSIGN(const bool empty, parts_.directories.is_empty(to.node));
  if (!empty) return fail(ENOTEMPTY);
  return {};
}

/// Before an object moves: say where its lower part is, or that what lies below its new place is none of it.
/// False where a file has no room for that.
Result<bool> Renaming::mark_moved(const Side& from, const Side& to) {
  if (!from.node->is_directory()) return parts_.copy_up.redirect_data(*from.node);
  LB_TRY(mark_directory_moved(from, to));
  return true;
}

Result<void> Renaming::mark_directory_moved(const Side& from, const Side& to) {
  const tree::NodeId lower = from.node->lower;
  if (lower == tree::kNoNode && to.found.lower_below == tree::kNoNode) return {};
  const bool redirects = lower != tree::kNoNode;
  const auto& marks = parts_.places.marks();
  const std::string_view mark = redirects ? marks.redirect : marks.opaque;
  const std::size_t value_bytes = redirects ? parts_.lower.tree.path(lower).size() : 1;
  LB_ASSIGN(const bool marked, parts_.objects.set_mark(*from.node, mark, value_bytes, [&](Place place) {
    return redirects ? parts_.paths.set_mark(place, mark, lower) : set_xattr_at(place, mark, "y", 0);
  }));
  return marked ? Result<void>() : fail(EXDEV);  // mv(1) copies it then
}

/// Of a directory that is empty to the client: what its whiteouts hide does not show without them.
Result<void> Renaming::make_opaque(const NodePtr& directory) {
  LB_ASSIGN(const HeldPlace place, parts_.places.place_of(directory));
  if (auto set = set_xattr_at(place.get(), parts_.places.marks().opaque, "y", 0); !set)
    return lacks_attribute_room(set.error()) ? fail(EXDEV) : set;
  directory->lower = tree::kNoNode;
  directory->directory.leads_nowhere = false;
  if (auto& listing = directory->directory.listing; listing) listing->forget_lower();
  directory->known.valid = false;
  return parts_.objects.recount_attributes(*directory, place.get());
}

/// What RENAME_WHITEOUT leaves is the guest's own: a character device 0:0 that it sees. It is made before the
/// move, so that nothing but the host can fail in between.
Result<void> Renaming::move_leaving_device(const Side& from, const Side& to) {
  LB_ASSIGN(const auto reserved,
            parts_.objects.reserve(parts_.ledger.tariff().for_object(from.name.size()), 1));
  LB_ASSIGN(auto made, new_objects_.make_unnamed({.mode = S_IFCHR, .uid = 0, .gid = 0, .rdev = 0}));
  const auto move = [&]() -> Result<Replaced> {
    LB_ASSIGN(Replaced replaced, prepare_to_replace(to));
    LB_TRY(move_and_fill(from, to, made.work.get()));
    return replaced;
  };
  auto replaced = move();
  if (!replaced) {
    new_objects_.discard(made);
    return std::unexpected(std::move(replaced).error());
  }
  if (to.found.child != nullptr && !(replaced->file && replaced->file->needs_name)) {
    // It hides nothing there; the next start clears what stays.
    static_cast<void>(unlink_at(made.work.get(), to.node && to.node->is_directory() ? AT_REMOVEDIR : 0));
  }
  forget_replaced(to, *std::move(replaced), made.work.name);
  move_names(from, to, false);
  new_objects_.placed(from.directory, from.name, std::move(made));
  return {};
}

/// The move on the host, then what is at `filling` goes under the old name; what was under the new one is at
/// `filling` afterwards. All is as it was where one of these fails.
Result<void> Renaming::move_and_fill(const Side& from, const Side& to, Place filling) {
  LB_ASSIGN(const HeldPlace from_place, parts_.places.place_in(from.directory, from.name));
  LB_ASSIGN(const HeldPlace to_place, parts_.places.place_in(to.directory, to.name));
  const bool swaps = to.found.child != nullptr;
  // Until the old name is filled, what the image has by it must not show.
  const bool leaves_whiteout = !swaps && from.found.lower_below != tree::kNoNode;
  const unsigned how = swaps ? RENAME_EXCHANGE : (leaves_whiteout ? RENAME_WHITEOUT : 0U);
  LB_TRY(rename_at(from_place.get(), to_place.get(), how));
  auto filled = rename_at(filling, from_place.get(), swaps ? RENAME_EXCHANGE : 0);
  if (!filled) move_back(from_place.get(), to_place.get(), swaps || leaves_whiteout, leaves_whiteout);
  return filled;
}

/// Of a file whose host gives it no further name: it is swapped with what replaces it, and then taken to
/// `work`. A cut in between shows it under the old name.
Result<void> Renaming::move_by_swapping(const Side& from, const Side& to, Place work) {
  if (from.found.lower_below != tree::kNoNode) {
    LB_TRY(parts_.places.make_whiteout(work));
    auto moved = move_and_fill(from, to, work);
    if (!moved) static_cast<void>(unlink_at(work));
    return moved;
  }
  LB_ASSIGN(const HeldPlace from_place, parts_.places.place_in(from.directory, from.name));
  LB_ASSIGN(const HeldPlace to_place, parts_.places.place_in(to.directory, to.name));
  LB_TRY(rename_at(from_place.get(), to_place.get(), RENAME_EXCHANGE));
  auto taken = rename_at(from_place.get(), work, 0);
  if (!taken) move_back(from_place.get(), to_place.get(), true, false);
  return taken;
}

void Renaming::move_back(Place from, Place to, bool swaps, bool whiteout_goes) {
  auto moved = rename_at(to, from, swaps ? RENAME_EXCHANGE : 0);
  if (moved && whiteout_goes) moved = unlink_at(to);
  if (!moved)
    log_warn("a name that the host did not move as a whole stays as it is: ", moved.error().describe());
}

Result<void> Renaming::exchange(const Side& from, const Side& to) {
  LB_ASSIGN(const HeldPlace from_place, parts_.places.place_in(from.directory, from.name));
  LB_ASSIGN(const HeldPlace to_place, parts_.places.place_in(to.directory, to.name));
  LB_TRY(rename_at(from_place.get(), to_place.get(), RENAME_EXCHANGE));
  parts_.directories.put(*from.directory, from.name, child_of(to.node));
  parts_.directories.put(*to.directory, to.name, child_of(from.node));
  parts_.nodes.move(from.node, to.directory, to.name);
  parts_.nodes.move(to.node, from.directory, from.name);
  to.node->known.valid = false;
  return {};
}

/// The move on the host: leaves a whiteout behind where the lower tree has the old name, and says so.
Result<bool> Renaming::move_onto_host(const Side& from, const Side& to) {
  LB_ASSIGN(const HeldPlace from_place, parts_.places.place_in(from.directory, from.name));
  LB_ASSIGN(const HeldPlace to_place, parts_.places.place_in(to.directory, to.name));
  const bool leaves_whiteout = from.found.lower_below != tree::kNoNode;
  if (from.node->is_directory() && to.found.is_whiteout()) {
    // The host does not move a directory onto a whiteout, but it swaps them.
    LB_TRY(rename_at(from_place.get(), to_place.get(), RENAME_EXCHANGE));
    // One that stays hides nothing, and is no error: the move was made.
    return leaves_whiteout || !unlink_at(from_place.get());
  }
  LB_TRY(rename_at(from_place.get(), to_place.get(), leaves_whiteout ? RENAME_WHITEOUT : 0));
  if (leaves_whiteout) share_whiteout(from_place.get());
  return leaves_whiteout;
}

/// The host has made an inode for a whiteout that it left, which no budget knows of: a link of the one that
/// all share takes its place. Where that can't be had, it stays.
void Renaming::share_whiteout(Place place) {
  const HeldPlace work = parts_.places.work_place();
  if (!parts_.places.make_whiteout(work.get())) return;
  if (!rename_at(work.get(), place, 0)) static_cast<void>(unlink_at(work.get()));
}

/// What memory has of both names, after the move.
void Renaming::move_names(const Side& from, const Side& to, bool leaves_whiteout) {
  auto& directories = parts_.directories;
  Child child = child_of(from.node);
  if (leaves_whiteout) {
    directories.put(*from.directory, from.name, whiteout_child());
    directories.put(*to.directory, to.name, std::move(child));
  } else if (from.directory == to.directory) {
    directories.rename(*from.directory, from.name, to.name, std::move(child));
  } else {
    directories.erase(*from.directory, from.name);
    directories.put(*to.directory, to.name, std::move(child));
  }
  parts_.nodes.move(from.node, to.directory, to.name);
}

/// Before what stands under the new name goes.
Result<Renaming::Replaced> Renaming::prepare_to_replace(const Side& to) {
  Replaced replaced;
  if (!to.node) return replaced;
  if (!to.node->is_directory()) {
    LB_ASSIGN(replaced.file, removal_.prepare_to_leave(to.directory, to.name, to.node));
    return replaced;
  }
  LB_TRY(make_opaque(to.node));
  LB_TRY(removal_.clear_whiteouts(to.node));
  LB_TRY(parts_.objects.attr_of(*to.node));
  replaced.directory = parts_.objects.hold_directory(to.node);
  return replaced;
}

/// It has lost its name on the host. `work_name`: where it lives on, if it does.
void Renaming::forget_replaced(const Side& to, Replaced replaced, const std::string& work_name) {
  if (replaced.file) {
    removal_.leave(*std::move(replaced.file), work_name);
  } else if (to.node) {
    removal_.drop_directory(to.node, std::move(replaced.directory));
  } else if (const tree::NodeId row = to.found.visible_lower(); row != tree::kNoNode) {
    parts_.lost_names.lose(row);
  }
}

Result<void> Renaming::move_over(const Side& from, const Side& to) {
  // Best effort, as what is moved or replaced may be what makes room: such whiteouts are no more than inodes.
  Result<Quota::Reservation> whiteout;
  if (from.found.lower_below != tree::kNoNode) {
    const auto bytes = parts_.ledger.tariff().for_name(from.name.size());
    whiteout = parts_.objects.reserve(bytes, 0, Budget::kMakesRoom);
  }
  LB_ASSIGN(Replaced replaced, prepare_to_replace(to));
  const HeldPlace kept = parts_.places.work_place();
  Result<void> linked;
  if (replaced.file && replaced.file->needs_name) {
    LB_ASSIGN(const HeldPlace place, parts_.places.place_of(to.node));
    linked = link_at(place.get(), kept.get());
    if (!linked && linked.error().code != EMLINK) return linked;
  }
  bool leaves_whiteout = from.found.lower_below != tree::kNoNode;
  if (linked) {
    const auto moved = move_onto_host(from, to);
    if (!moved) {
      if (replaced.file && replaced.file->needs_name) static_cast<void>(unlink_at(kept.get()));
      return std::unexpected(moved.error());
    }
    leaves_whiteout = *moved;
  } else {
    LB_TRY(move_by_swapping(from, to, kept.get()));
  }
  forget_replaced(to, std::move(replaced), kept.name);
  move_names(from, to, leaves_whiteout);
  return {};
}

}  // namespace layerboot::overlay
