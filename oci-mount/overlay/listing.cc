// Directories: what the upper says of their names, and merged listings.
//
// A listing's cookies never move: a name that the lower directory has is listed at its place there, whatever
// has the name now; the others follow in the order in which they appeared. So a client may remove while it
// lists.
#include <dirent.h>
#include <sys/stat.h>

#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"
#include "oci-mount/tree/path_rules.h"

namespace layerboot::overlay {

namespace {

constexpr std::uint64_t kFirstLowerCookie = 2;  // 0 is ".", 1 is ".."

unsigned char dirent_type(std::uint32_t type) { return static_cast<unsigned char>((type & S_IFMT) >> 12); }

}  // namespace

Result<Listing*> Overlay::listing_of(const NodePtr& directory) {
  if (directory->listing) return directory->listing.get();
  LB_ASSIGN(const auto fd, directory_fd(directory));
  LB_ASSIGN(auto entries, list_directory(fd->get()));
  directory->listing = std::make_unique<Listing>();
  for (auto& entry : entries) {
    Child child;
    child.type = entry.type;
    child.host_ino = entry.ino;
    if (entry.type == DT_CHR || entry.type == DT_UNKNOWN) {
      const auto st = stat_at({fd->get(), entry.name.c_str()});
      if (!st) {
        directory->listing.reset();
        return std::unexpected(st.error());
      }
      child.whiteout = is_whiteout(*st);
      child.type = dirent_type(st->st_mode);
    }
    put_child(*directory, entry.name, std::move(child));
  }
  return directory->listing.get();
}

/// REQUIRES: the listing is loaded.
void Overlay::put_child(Node& directory, std::string_view name, Child child) {
  Listing& listing = *directory.listing;
  const bool has_lower =
      directory.lower != tree::kNoNode && lower_.tree.lookup(directory.lower, name) != tree::kNoNode;
  const auto known = listing.children.find(name);
  if (known != listing.children.end()) {
    child.sequence = known->second.sequence;
    known->second = std::move(child);
    return;
  }
  if (!has_lower) child.sequence = listing.next_sequence++;
  const auto put = listing.children.emplace(std::string(name), std::move(child)).first;
  if (!has_lower) listing.upper_only.emplace(put->second.sequence, put->first);
}

/// REQUIRES: the listing is loaded.
void Overlay::erase_child(Node& directory, std::string_view name) {
  Listing& listing = *directory.listing;
  const auto known = listing.children.find(name);
  if (known == listing.children.end()) return;
  const auto order = listing.upper_only.find(known->second.sequence);
  if (order != listing.upper_only.end() && order->second == name) listing.upper_only.erase(order);
  listing.children.erase(known);
}

Result<Overlay::Found> Overlay::look(const Ref& directory, std::string_view name) {
  Found found;
  if (directory.lower != tree::kNoNode) found.lower_below = lower_.tree.lookup(directory.lower, name);
  if (!directory.node) return found;
  LB_ASSIGN(Listing* const listing, listing_of(directory.node));
  if (const auto child = listing->children.find(name); child != listing->children.end()) {
    found.child = &child->second;
  }
  return found;
}

Result<Entry> Overlay::lookup(NodeId parent, std::string_view name) {
  if (!tree::is_valid_name(name)) return std::unexpected(check_name(name).error());
  if (untouched(parent)) {
    const auto directory = static_cast<tree::NodeId>(parent);
    if (!S_ISDIR(lower_.tree.node(directory).mode)) return fail(ENOTDIR);
    const tree::NodeId child = lower_.tree.lookup(directory, name);
    if (child == tree::kNoNode) return Entry{};
    if (untouched(child)) return entry_for_lower(child);
  }
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref directory, find_directory(parent));
  LB_ASSIGN(const Found found, look(directory, name));
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, load_child(directory.node, std::string(name), *found.child));
    return entry_for(node);
  }
  const tree::NodeId lower = found.visible_lower();
  if (lower == tree::kNoNode) return Entry{};
  LB_ASSIGN(const Ref child, find(lower));
  return child.node ? entry_for(child.node) : entry_for_lower(lower);
}

Result<bool> Overlay::is_empty(const NodePtr& directory) {
  LB_ASSIGN(Listing* const listing, listing_of(directory));
  std::size_t hidden = 0;
  for (const auto& [name, child] : listing->children) {
    if (!child.whiteout) return false;
    if (directory->lower != tree::kNoNode && lower_.tree.lookup(directory->lower, name) != tree::kNoNode)
      ++hidden;
  }
  return directory->lower == tree::kNoNode || hidden == lower_.tree.entries(directory->lower).size();
}

NodeId Overlay::parent_of(const Ref& directory) const {
  if (!directory.node) return lower_.tree.parent(directory.lower);
  return directory.node->parent ? directory.node->parent->id : directory.node->id;
}

/// Gives an object of the upper to `add`; false when there was no room.
bool Overlay::give_entry(const NodePtr& directory, const std::string& name, Child& child,
                         std::uint64_t next_cookie, bool with_nodes, const AddEntry& add) {
  // An object that can't be read is still listed: names must not vanish.
  Dirent dirent{
      .name = name, .ino = kUpperIdBase + child.host_ino, .type = child.type, .next_cookie = next_cookie};
  // Only its Node knows an object's number, and its type where the body has another.
  const NodePtr node = load_child(directory, name, child).value_or(nullptr);
  if (!node) return add(dirent, Entry{});
  dirent.ino = node->id;
  dirent.type = dirent_type(node->type);
  Entry entry;
  if (with_nodes) {
    if (const auto attr = attr_of(*node); attr) entry = {node->id, *attr};
  }
  const bool taken = add(dirent, entry);
  if (taken && entry.id != 0) {
    add_reference(*node);
  } else {
    release_if_unused(node);
  }
  return taken;
}

Result<void> Overlay::list_upper_only(const NodePtr& directory, std::uint64_t from, bool with_nodes,
                                      const AddEntry& add, bool& full) {
  LB_ASSIGN(Listing* const listing, listing_of(directory));
  for (auto at = listing->upper_only.lower_bound(from); at != listing->upper_only.end() && !full; ++at) {
    const auto child = listing->children.find(at->second);
    if (child == listing->children.end() || child->second.whiteout) continue;
    full = !give_entry(directory, child->first, child->second, kUpperCookieBase + at->first + 1, with_nodes,
                       add);
  }
  return {};
}

Result<void> Overlay::readdir(NodeId id, std::uint64_t cookie, bool with_nodes, const AddEntry& add) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref directory, find_directory(id));
  if (cookie == 0) {
    if (!add({.name = ".", .ino = id, .type = DT_DIR, .next_cookie = 1}, Entry{})) return {};
    cookie = 1;
  }
  if (cookie == 1) {
    const Dirent up{
        .name = "..", .ino = parent_of(directory), .type = DT_DIR, .next_cookie = kFirstLowerCookie};
    if (!add(up, Entry{})) return {};
    cookie = kFirstLowerCookie;
  }
  bool full = false;
  if (directory.lower != tree::kNoNode && cookie < kUpperCookieBase) {
    const auto entries = lower_.tree.entries(directory.lower);
    for (std::uint64_t i = cookie - kFirstLowerCookie; i < entries.size() && !full; ++i) {
      const auto name = lower_.tree.name(entries[i]);
      const std::uint64_t next = i + 1 + kFirstLowerCookie;
      LB_ASSIGN(const Found found, look(directory, name));
      if (found.in_upper()) {
        full = !give_entry(directory.node, std::string(name), *found.child, next, with_nodes, add);
      } else if (found.child == nullptr) {
        const tree::NodeId lower = entries[i].node;
        Entry entry;
        if (const auto child = find(lower); with_nodes && child) {
          LB_ASSIGN(const Attr attr, child->node ? attr_of(*child->node) : Result<Attr>(lower_.attr(lower)));
          entry = {lower, attr};
        }
        full = !add({.name = name, .ino = lower, .type = entries[i].type, .next_cookie = next}, entry);
        if (entry.id != 0 && !full) add_lower_reference(lower);
      }
    }
  }
  if (full || !directory.node) return {};
  const std::uint64_t from = cookie < kUpperCookieBase ? 0 : cookie - kUpperCookieBase;
  return list_upper_only(directory.node, from, with_nodes, add, full);
}

}  // namespace layerboot::overlay
