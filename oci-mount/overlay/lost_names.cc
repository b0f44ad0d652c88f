// Names that an image's file has lost, while others still lead to it: its link count must tell.
#include <sys/stat.h>

#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

/// Keeps the link count right for a client that still holds the object, or finds it by another name.
void Overlay::lose_lower_name(tree::NodeId lower) {
  const auto known = nodes_.find(lower);
  if (known != nodes_.end()) {
    ++known->second->lost_names;
    known->second->attr_valid = false;
    return;
  }
  const auto& record = lower_.tree.node(lower);
  if (lower_references(lower) == 0 && record.nlink == 1) return;
  add_node(node_with_lost_names(lower, 1));
}

NodePtr Overlay::node_with_lost_names(tree::NodeId lower, std::uint32_t count) {
  auto node = std::make_shared<Node>();
  node->id = lower;
  node->lower = lower;
  node->type = lower_.tree.node(lower).mode & S_IFMT;
  node->in_upper = false;
  node->lost_names = count;
  if (node->is_directory()) forget_removed_directory(node);
  return node;
}

/// Whether the image's directory is still there for the client, wherever it is now. Directories that were
/// renamed are known already.
Result<bool> Overlay::is_shown(tree::NodeId directory) {
  if (directory == tree::kRoot) return true;
  if (const auto known = nodes_.find(directory); known != nodes_.end()) return !known->second->removed;
  const tree::NodeId parent = lower_.tree.parent(directory);
  LB_ASSIGN(const bool parent_shown, is_shown(parent));
  if (!parent_shown) return false;
  const std::string name(lower_.tree.name_in_parent(directory));
  LB_ASSIGN(const Ref ref, find(parent));
  LB_ASSIGN(const Found found, look(ref, name));
  if (found.child == nullptr) return true;
  if (found.child->whiteout) return false;
  LB_ASSIGN(const NodePtr node, load_child(ref.node, name, *found.child));
  return node->id == directory;
}

Result<bool> Overlay::is_lower_name_shown(tree::NodeId directory, std::string_view name) {
  LB_ASSIGN(const bool shown, is_shown(directory));
  if (!shown) return false;
  LB_ASSIGN(const Ref ref, find(directory));
  LB_ASSIGN(const Found found, look(ref, name));
  return found.child == nullptr;
}

/// A crash may have come between the names of a copy: those that still lead to the image's file get theirs
/// now.
Result<void> Overlay::finish_copy(tree::NodeId lower) {
  for (const auto& link : lower_.tree.links(lower)) {
    LB_ASSIGN(const bool shown, is_shown(link.parent));
    if (!shown) continue;
    const std::string name(lower_.tree.name(link));
    LB_ASSIGN(const Ref directory, find(link.parent));
    LB_ASSIGN(const Found found, look(directory, name));
    if (!found.in_upper()) continue;
    LB_ASSIGN(const NodePtr node, load_child(directory.node, name, *found.child));
    if (node->id != lower) continue;
    // A copy of overlayfs's own has one name, and the others have always led to the image's file.
    LB_ASSIGN(const HeldPlace place, place_of(node));
    LB_ASSIGN(const auto ours, get_xattr_at(place.get(), marks().origin));
    return ours ? link_other_names(lower, node) : Result<void>();
  }
  return {};
}

/// Finds what former sessions took away, or left half done.
Result<void> Overlay::load_lost_names() {
  LB_ASSIGN(Listing* const top, listing_of(nodes_.at(kRootId)));
  if (top->children.empty()) return {};
  const auto all = lower_.tree.all_links();
  for (std::size_t at = 0; at < all.size();) {
    const tree::NodeId file = lower_.tree.lookup(all[at].parent, lower_.tree.name(all[at]));
    const auto links = lower_.tree.links(file);
    at += links.size();
    std::uint32_t lost = 0;
    for (const auto& link : links) {
      LB_ASSIGN(const bool shown, is_lower_name_shown(link.parent, lower_.tree.name(link)));
      if (!shown) ++lost;
    }
    // With no name left it was copied up, or nobody can find it.
    if (lost == 0 || lost == links.size()) continue;
    LB_TRY(finish_copy(file));
    if (!nodes_.contains(file)) add_node(node_with_lost_names(file, lost));
  }
  return {};
}

}  // namespace layerboot::overlay
