#include "oci-mount/overlay/removal.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <utility>
#include <vector>

#include "oci-mount/base/log.h"

namespace layerboot::overlay {

namespace {

/// What lies in the work directory is no more to the client; the next start clears it.
void warn_of_leftover(const Result<void>& removed) {
  if (!removed) log_warn("cannot clear the work directory: ", removed.error().describe());
}

}  // namespace

/// Moves what is at `place` to `work`, leaving a whiteout, at one stroke.
Result<void> Removal::swap_for_whiteout(Place place, Place work) {
  LB_TRY(parts_.places.make_whiteout(work));
  auto swapped = rename_at(work, place, RENAME_EXCHANGE);
  if (!swapped) static_cast<void>(unlink_at(work));
  return swapped;
}

namespace {

/// How many are gone, and why no more.
struct Unlinked {
  std::size_t count = 0;
  Result<void> end;
};

Unlinked unlink_all(int dir_fd, const std::vector<std::string>& names) {
  Unlinked gone;
  for (; gone.count < names.size(); ++gone.count) {
    gone.end = unlink_at({dir_fd, names[gone.count].c_str()});
    if (!gone.end) break;
  }
  return gone;
}

}  // namespace

Result<void> Removal::clear_whiteouts(const NodePtr& directory) {
  LB_ASSIGN(const auto names, parts_.directories.some_whiteouts(directory, SIZE_MAX));
  LB_ASSIGN(const auto fd, parts_.places.directory_fd(directory));
  auto gone = unlink_all(fd->get(), names);
  for (std::size_t i = 0; i < gone.count; ++i) parts_.directories.erase(*directory, names[i]);
  return std::move(gone.end);
}

/// False when there are no more.
Result<bool> Removal::clear_some_whiteouts(PartLock& lock, const NodePtr& directory) {
  if (!lock.may_use(*directory, PartLock::For::kClaiming)) return true;
  if (directory->is_removed() || directory->lower != tree::kNoNode) return false;
  LB_ASSIGN(const auto names, parts_.directories.some_whiteouts(directory, kFewWhiteouts));
  if (names.empty()) return false;
  LB_ASSIGN(const auto fd, parts_.places.directory_fd(directory));
  auto gone = lock.with_claim(*directory, [&] { return unlink_all(fd->get(), names); });
  for (std::size_t i = 0; i < gone.count; ++i) parts_.directories.erase(*directory, names[i]);
  directory->known.valid = false;
  LB_TRY(std::move(gone.end));
  return true;
}

Result<void> Removal::clear_whiteouts_beside_others(const NodePtr& directory) {
  for (bool more = true; more;) {
    PartLock lock(parts_.mutex);
    LB_ASSIGN(more, clear_some_whiteouts(lock, directory));
  }
  return {};
}

void Removal::drop_directory(const NodePtr& node, SharedFd held) {
  parts_.objects.drop_directory(*node, std::move(held));
  parts_.nodes.move(node, nullptr, {});
  parts_.objects.release_if_unused(node);
}

Result<bool> Removal::unlink_beside_others(PartLock& lock, NodeId parent, std::string_view name_view) {
  const std::string name(name_view);
  LB_ASSIGN(const Ref ref, parts_.directories.find(lock, parent, PartLock::For::kClaiming));
  const NodePtr& directory = ref.node;
  if (!directory) return false;
  LB_ASSIGN(const Found found, parts_.directories.look(ref, name));
  if (!found.in_upper() || found.lower_below != tree::kNoNode) return false;
  LB_ASSIGN(const NodePtr node, parts_.objects.load(directory, name, *found.child));
  if (!node->is_regular() || !node->is_reached_as(directory, name)) return false;
  LB_ASSIGN(const Attr before, parts_.objects.attr_of(*node));
  if (before.nlink != 1) return false;
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
  // From here on it is reached by its number alone, so that nobody meets it half removed.
  if (!parts_.objects.make_orphan(*node)) return false;
  const Objects::Keep keep_directory(parts_.objects, directory);
  const Objects::Keep keep(parts_.objects, node);
  const auto gone = lock.with_claim(*directory, [&] { return unlink_at(place.get()); });
  if (!gone) {
    parts_.objects.unmake_orphan(*node);
    return std::unexpected(gone.error());
  }
  parts_.directories.erase(*directory, name);
  directory->known.times_stale = true;
  node->known.valid = false;
  parts_.nodes.move(node, nullptr, {});
  return true;
}

Result<Removal::Leaving> Removal::prepare_to_leave(const NodePtr& directory, const std::string& name,
                                                   const NodePtr& node) {
  LB_ASSIGN(const Attr before, parts_.objects.attr_of(*node));
  Leaving leaving;
  leaving.node = node;
  leaving.is_reached_here = node->is_reached_as(directory, name);
  if (!leaving.is_reached_here) return leaving;
  const bool held = parts_.nodes.is_referenced(*node);
  leaving.needs_name = held || (before.nlink > 1 && !parts_.objects.may_lose_name(*node));
  if (leaving.needs_name) return leaving;
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
  if (before.nlink > 1) {
    LB_ASSIGN(leaving.with_others, stat_at(place.get()));
    return leaving;
  }
  leaving.large = parts_.objects.hold_large(*node, place.get());
  return leaving;
}

void Removal::leave(Leaving leaving, const std::string& work_name) {
  const NodePtr& node = leaving.node;
  node->known.valid = false;
  if (!leaving.is_reached_here) return;
  if (leaving.needs_name) {
    node->standing = Standing::kInWork;
    parts_.nodes.move(node, nullptr, work_name);
    parts_.objects.release_if_unused(node);
  } else if (leaving.with_others) {
    parts_.objects.lose_name(*node, *leaving.with_others);
  } else {
    parts_.objects.bury(*node, std::move(leaving.large));
    node->known.attr.nlink = 0;
    // Who still has it in hand keeps neither the host's inode nor its directory.
    parts_.places.drop_fd(*node);
    const NodePtr parent = node->parent;
    parts_.nodes.move(node, nullptr, {});
    parts_.objects.release_if_unused(node);
    if (parent) parts_.objects.release_if_unused(parent);
  }
}

/// Takes `name`, an object of the upper and no directory, away. What the client still holds moves to the work
/// directory, until forget().
Result<void> Removal::remove_name(const NodePtr& directory, const std::string& name, const Found& found) {
  LB_ASSIGN(const NodePtr node, parts_.objects.load(directory, name, *found.child));
  LB_ASSIGN(Leaving leaving, prepare_to_leave(directory, name, node));
  const bool keep = leaving.needs_name;
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
  const HeldPlace work = parts_.places.work_place();
  if (found.lower_below != tree::kNoNode) {
    // What the upper itself has is always removed; by how much the whiteouts of what stays for the client
    // pass the room is bounded by the budget of inodes.
    Result<Quota::Reservation> whiteout;
    if (keep) {
      const auto bytes = parts_.ledger.tariff().for_name(name.size());
      whiteout = parts_.objects.reserve(bytes, 0, Budget::kMakesRoom);
    }
    LB_TRY(swap_for_whiteout(place.get(), work.get()));
    if (!keep) warn_of_leftover(unlink_at(work.get()));
    parts_.directories.put(*directory, name, whiteout_child());
  } else {
    LB_TRY(keep ? rename_at(place.get(), work.get(), 0) : unlink_at(place.get()));
    parts_.directories.erase(*directory, name);
  }
  directory->known.valid = false;
  leave(std::move(leaving), work.name);
  return {};
}

/// Hides a name that only the lower tree has.
Result<void> Removal::remove_row_name(const NodePtr& directory, const std::string& name, tree::NodeId row) {
  LB_TRY(parts_.directories.listing_of(directory));  // it may have been copied up just now
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
  LB_ASSIGN(const auto reserved,
            parts_.objects.reserve(parts_.ledger.tariff().for_name(name.size()), 0, Budget::kMakesRoom));
  LB_TRY(parts_.places.make_whiteout(place.get()));
  parts_.directories.put(*directory, name, whiteout_child());
  parts_.objects.add_name(*directory, name);
  directory->known.valid = false;
  parts_.lost_names.lose(row);
  return {};
}

/// Takes away `name`, an empty directory of the upper.
Result<void> Removal::remove_directory(const NodePtr& directory, const std::string& name, const Found& found,
                                       std::optional<HeldPlace>& leftover) {
  LB_ASSIGN(const NodePtr node, parts_.objects.load(directory, name, *found.child));
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
  LB_TRY(parts_.objects.attr_of(*node));
  SharedFd held = parts_.objects.hold_directory(node);
  HeldPlace work = parts_.places.work_place();
  // First out of sight, then apart: a crash in between leaves nothing but a leftover in the work directory.
  if (found.lower_below != tree::kNoNode) {
    LB_TRY(swap_for_whiteout(place.get(), work.get()));
    parts_.directories.put(*directory, name, whiteout_child());
  } else {
    LB_TRY(rename_at(place.get(), work.get(), 0));
    parts_.directories.erase(*directory, name);
  }
  directory->known.valid = false;
  drop_directory(node, std::move(held));
  leftover = std::move(work);
  return {};
}

void Removal::discard(const HeldPlace& leftover) { warn_of_leftover(remove_tree_at(leftover.get())); }

Result<void> Removal::remove(NodeId parent, std::string_view name_view, bool is_directory,
                             std::optional<HeldPlace>& leftover) {
  const std::string name(name_view);
  const int wrong_kind = is_directory ? ENOTDIR : EISDIR;
  LB_ASSIGN(const Ref ref, parts_.nodes.find_directory(parent));
  LB_ASSIGN(const Found found, parts_.directories.look(ref, name));
  if (!found.exists()) return fail(ENOENT);
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, parts_.objects.load(ref.node, name, *found.child));
    if (node->is_directory() != is_directory) return fail(wrong_kind);
    if (!is_directory) return remove_name(ref.node, name, found);
    LB_ASSIGN(const bool empty, parts_.directories.is_empty(node));
    if (!empty) return fail(ENOTEMPTY);
    return remove_directory(ref.node, name, found, leftover);
  }
  const auto& record = parts_.lower.tree.node(found.lower_below);
  if (S_ISDIR(record.mode) != is_directory) return fail(wrong_kind);
  if (is_directory && record.child_count > 0) return fail(ENOTEMPTY);
  LB_ASSIGN(const NodePtr directory, parts_.copy_up.directory(ref, Budget::kMakesRoom));
  return remove_row_name(directory, name, found.lower_below);
}

}  // namespace layerboot::overlay
