#include "oci-mount/overlay/directories.h"

#include <dirent.h>
#include <sys/stat.h>

#include <utility>

namespace layerboot::overlay {

namespace {

// Cookies: 0 is ".", 1 is "..", then come the lower directory's names, then those it does not have.
constexpr std::uint64_t kFirstLowerCookie = 2;
constexpr std::uint64_t kUpperCookieBase = std::uint64_t{1} << 40;

std::uint64_t ino_in(const Ref& ref) {
  return ref.node ? ino_of(ref.node->id, ref.node->host_ino) : ref.lower;
}

}  // namespace

Result<std::unique_ptr<Listing>> Directories::read_names(int fd, tree::NodeId lower) {
  auto names = std::make_unique<Listing>(memory_);
  LB_TRY(each_in_directory(fd, [&](const HostDirent& entry) -> Result<void> {
    if (!memory_.has_room(Listing::bytes_of(entry.name))) return fail(ENOMEM);
    Child child;
    child.type = entry.type;
    child.host_ino = entry.ino;
    if (entry.type == DT_CHR || entry.type == DT_UNKNOWN) {
      LB_ASSIGN(const auto st, stat_at({fd, entry.name.c_str()}));
      child.whiteout = is_whiteout(st);
      child.type = dirent_type(st.st_mode);
    }
    names->put(entry.name, std::move(child), has_name(lower, entry.name));
    return {};
  }));
  names->begin_listing();
  return names;
}

void Directories::keep_names(const NodePtr& directory, std::unique_ptr<Listing> names) {
  directory->directory.listing = std::move(names);
  ++directory->directory.times_read;
}

Result<Listing*> Directories::listing_of(const NodePtr& directory) {
  auto& listing = directory->directory.listing;
  if (listing) return listing.get();
  LB_ASSIGN(const auto fd, places_.directory_fd(directory));
  LB_ASSIGN(auto names, read_names(fd->get(), directory->lower));
  keep_names(directory, std::move(names));
  return listing.get();
}

Result<void> Directories::read_beside_others(PartLock& lock, const NodePtr& directory) {
  auto& state = directory->directory;
  if (state.listing || !directory->has_body()) return {};
  LB_ASSIGN(const auto fd, places_.directory_fd(directory));
  const tree::NodeId lower = directory->lower;
  const std::uint32_t times_read = state.times_read;
  const Objects::Keep keep(objects_, directory);
  auto names = lock.beside_others([&] { return read_names(fd->get(), lower); });
  // Who has changed names of it meanwhile has read it before.
  const bool is_as_read = state.times_read == times_read && directory->lower == lower;
  if (!is_as_read || !directory->has_body() || directory->is_removed()) return {};
  if (!names) return std::unexpected(std::move(names).error());
  keep_names(directory, *std::move(names));
  return {};
}

Result<Ref> Directories::find(PartLock& lock, NodeId id, PartLock::For what) {
  for (bool read = false;;) {
    LB_ASSIGN(Ref ref, nodes_.find_directory(id));
    if (!ref.node) return ref;
    if (!lock.may_use(*ref.node, what)) continue;
    if (ref.node->directory.listing || std::exchange(read, true)) return ref;
    LB_TRY(read_beside_others(lock, ref.node));
  }
}

Result<void> Directories::read_ahead(OverlayLock& mutex, NodeId id) {
  PartLock lock(mutex);
  LB_TRY(find(lock, id, PartLock::For::kLooking));
  return {};
}

Result<std::optional<Objects::Pin>> Directories::read_ahead(OverlayLock& mutex, NodeId parent,
                                                            std::string_view name) {
  std::optional<Objects::Pin> pin;  // outlives the lock
  PartLock lock(mutex);
  LB_ASSIGN(const Ref ref, find(lock, parent, PartLock::For::kLooking));
  if (!ref.node) return pin;
  LB_ASSIGN(const Found found, look(ref, name));
  if (!found.in_upper() || found.child->type != DT_DIR) return pin;
  LB_ASSIGN(const NodePtr node, objects_.load(ref.node, std::string(name), *found.child));
  if (!node->is_directory()) return pin;
  pin.emplace(objects_, node);
  LB_TRY(read_beside_others(lock, node));
  return pin;
}

bool Directories::has_name(tree::NodeId lower, std::string_view name) const {
  return lower != tree::kNoNode && lower_.tree.lookup(lower, name) != tree::kNoNode;
}

bool Directories::has_lower(const Node& directory, std::string_view name) const {
  return has_name(directory.lower, name);
}

void Directories::put(Node& directory, std::string_view name, Child child) {
  ledger_.change_whiteouts(hides(directory, name) ? 1 : 0, child.whiteout ? 1 : 0);
  directory.directory.listing->put(name, std::move(child), has_lower(directory, name));
}

bool Directories::hides(Node& directory, std::string_view name) {
  const Child* const child = directory.directory.listing->find(name);
  return child != nullptr && child->whiteout;
}

void Directories::erase(Node& directory, std::string_view name) {
  ledger_.change_whiteouts(hides(directory, name) ? 1 : 0, 0);
  directory.directory.listing->erase(name);
}

void Directories::rename(Node& directory, std::string_view from, std::string_view to, Child child) {
  const std::size_t gone = (hides(directory, from) ? 1U : 0U) + (hides(directory, to) ? 1U : 0U);
  ledger_.change_whiteouts(gone, child.whiteout ? 1 : 0);
  directory.directory.listing->rename(from, to, std::move(child), has_lower(directory, to));
}

Result<Found> Directories::look(const Ref& directory, std::string_view name) {
  Found found;
  if (directory.lower != tree::kNoNode) found.lower_below = lower_.tree.lookup(directory.lower, name);
  if (!directory.node) return found;
  LB_ASSIGN(Listing* const listing, listing_of(directory.node));
  found.child = listing->find(name);
  return found;
}

Result<bool> Directories::is_empty(const NodePtr& directory) {
  LB_ASSIGN(const Listing* const listing, listing_of(directory));
  if (listing->whiteouts() < listing->children().size()) return false;
  return directory->lower == tree::kNoNode ||
         listing->hidden() == lower_.tree.entries(directory->lower).size();
}

Result<std::vector<std::string>> Directories::some_whiteouts(const NodePtr& directory, std::size_t most) {
  LB_ASSIGN(const Listing* const listing, listing_of(directory));
  std::vector<std::string> names;
  for (const auto& [name, child] : listing->children()) {
    if (names.size() == most) break;
    if (child.whiteout) names.push_back(name);
  }
  return names;
}

std::uint64_t Directories::parent_ino(const Ref& directory) const {
  if (!directory.node) return lower_.tree.parent(directory.lower);
  const NodePtr& parent = directory.node->parent;
  return ino_in({parent ? parent : directory.node, tree::kNoNode});
}

/// Gives an object of the upper to `add`; false when there was no room.
bool Directories::give(const NodePtr& directory, const std::string& name, Child& child,
                       std::uint64_t next_cookie, bool with_nodes, const AddEntry& add) {
  // An object that can't be read is still listed: names must not vanish.
  Dirent dirent{
      .name = name, .ino = kUpperInoBase + child.host_ino, .type = child.type, .next_cookie = next_cookie};
  // Only its Node knows an object's number, and its type where the body has another.
  const NodePtr node = objects_.load(directory, name, child).value_or(nullptr);
  if (!node) return add(dirent, Entry{});
  dirent.ino = ino_of(node->id, node->host_ino);
  dirent.type = dirent_type(node->type);
  Entry entry;
  if (with_nodes) {
    if (const auto attr = objects_.attr_of(*node); attr) entry = {node->id, *attr};
  }
  const bool taken = add(dirent, entry);
  if (taken && entry.id != 0) {
    nodes_.add_reference(*node);
  } else {
    objects_.release_if_unused(node);
  }
  return taken;
}

/// The same for an object of the image.
Result<bool> Directories::give_row(tree::NodeId row, const Dirent& dirent, bool with_nodes,
                                   const AddEntry& add) {
  Entry entry;
  if (with_nodes) {
    const Ref ref = nodes_.row(row);
    LB_ASSIGN(const Attr attr, ref.node ? objects_.attr_of(*ref.node) : Result<Attr>(lower_.attr(row)));
    entry = {row, attr};
  }
  const bool taken = add(dirent, entry);
  if (taken && entry.id != 0) nodes_.add_row_reference(row);
  return taken;
}

/// Names that the lower directory has.
Result<void> Directories::list_lower(const Ref& directory, bool with_nodes, const AddEntry& add,
                                     Progress& progress) {
  const auto entries = lower_.tree.entries(directory.lower);
  for (std::uint64_t at = progress.cookie - kFirstLowerCookie; at < entries.size() && !progress.ends();
       ++at) {
    --progress.names_left;
    const auto name = lower_.tree.name(entries[at]);
    const std::uint64_t next_cookie = at + 1 + kFirstLowerCookie;
    LB_ASSIGN(const Found found, look(directory, name));
    bool taken = true;
    if (found.in_upper()) {
      taken = give(directory.node, std::string(name), *found.child, next_cookie, with_nodes, add);
    } else if (!found.is_whiteout()) {
      const tree::NodeId row = entries[at].node;
      const Dirent dirent{.name = name, .ino = row, .type = entries[at].type, .next_cookie = next_cookie};
      LB_ASSIGN(taken, give_row(row, dirent, with_nodes, add));
    }
    progress.is_full = !taken;
    if (taken) progress.cookie = next_cookie;
  }
  return {};
}

Result<bool> Directories::list_upper_only(const NodePtr& directory, bool with_nodes, const AddEntry& add,
                                          Progress& progress) {
  LB_ASSIGN(Listing* const listing, listing_of(directory));
  std::uint64_t at = progress.cookie < kUpperCookieBase ? 0 : progress.cookie - kUpperCookieBase;
  for (; !progress.ends(); ++at) {
    --progress.names_left;
    const std::string* const next = listing->next_upper_only(at);
    if (next == nullptr || at >= listing->listed_below()) return false;
    Child* const child = listing->find(*next);
    if (child != nullptr && !child->whiteout) {
      const std::string name(*next);
      progress.is_full = !give(directory, name, *child, kUpperCookieBase + at + 1, with_nodes, add);
      if (progress.is_full) break;
    }
    progress.cookie = kUpperCookieBase + at + 1;
  }
  return true;
}

Result<std::optional<std::uint64_t>> Directories::list(const Ref& directory, std::uint64_t cookie,
                                                       bool with_nodes, const AddEntry& add) {
  if (cookie == 0) {
    if (directory.node) {
      LB_ASSIGN(Listing* const listing, listing_of(directory.node));
      listing->begin_listing();
    }
    const Dirent self{.name = ".", .ino = ino_in(directory), .type = DT_DIR, .next_cookie = 1};
    if (!add(self, Entry{})) return std::nullopt;
    cookie = 1;
  }
  if (cookie == 1) {
    const Dirent up{
        .name = "..", .ino = parent_ino(directory), .type = DT_DIR, .next_cookie = kFirstLowerCookie};
    if (!add(up, Entry{})) return std::nullopt;
    cookie = kFirstLowerCookie;
  }
  Progress progress{.cookie = cookie};
  if (directory.lower != tree::kNoNode && cookie < kUpperCookieBase) {
    LB_TRY(list_lower(directory, with_nodes, add, progress));
  }
  bool has_more = progress.names_left == 0;
  if (directory.node && !progress.ends()) {
    LB_ASSIGN(has_more, list_upper_only(directory.node, with_nodes, add, progress));
  }
  if (progress.is_full || !has_more) return std::nullopt;
  return progress.cookie;
}

}  // namespace layerboot::overlay
