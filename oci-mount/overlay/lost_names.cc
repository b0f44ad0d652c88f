#include "oci-mount/overlay/lost_names.h"

#include <string>

namespace layerboot::overlay {

void LostNames::lose(tree::NodeId row) {
  if (const NodePtr known = nodes_.known(row); known) {
    ++known->lost_names;
    known->known.valid = false;
    nodes_.may_go(*known);
    return;
  }
  if (!nodes_.is_held_untouched(row) && lower_.tree.node(row).nlink == 1) return;
  nodes_.add(node_with_lost_names(row, 1));
}

NodePtr LostNames::node_with_lost_names(tree::NodeId row, std::uint32_t count) {
  auto node = objects_.new_node();
  node->id = row;
  node->lower = row;
  node->type = lower_.tree.node(row).mode & kTypeBits;
  node->standing = Standing::kLowerOnly;
  node->lost_names = count;
  return node;
}

Result<bool> LostNames::is_shown(tree::NodeId directory) {
  if (directory == tree::kRoot) return true;
  if (const NodePtr known = nodes_.known(directory); known) return !known->is_removed();
  const tree::NodeId parent = lower_.tree.parent(directory);
  LB_ASSIGN(const bool parent_shown, is_shown(parent));
  if (!parent_shown) return false;
  const std::string name(lower_.tree.name_in_parent(directory));
  const Ref ref = nodes_.row(parent);
  LB_ASSIGN(const Found found, directories_.look(ref, name));
  if (found.child == nullptr) return true;
  if (found.is_whiteout()) return false;
  LB_ASSIGN(const NodePtr node, objects_.load(ref.node, name, *found.child));
  return node->id == directory;
}

Result<bool> LostNames::is_name_shown(tree::NodeId directory, std::string_view name) {
  LB_ASSIGN(const bool shown, is_shown(directory));
  if (!shown) return false;
  LB_ASSIGN(const Found found, directories_.look(nodes_.row(directory), name));
  return found.child == nullptr;
}

Result<void> LostNames::load(const std::function<Result<void>(tree::NodeId)>& finish_copy) {
  LB_ASSIGN(const Listing* const top, directories_.listing_of(nodes_.known(kRootId)));
  if (top->children().empty()) return {};
  const auto all = lower_.tree.all_links();
  for (std::size_t at = 0; at < all.size();) {
    const tree::NodeId file = lower_.tree.lookup(all[at].parent, lower_.tree.name(all[at]));
    const auto links = lower_.tree.links(file);
    at += links.size();
    std::uint32_t lost = 0;
    for (const auto& link : links) {
      LB_ASSIGN(const bool shown, is_name_shown(link.parent, lower_.tree.name(link)));
      if (!shown) ++lost;
    }
    // With no name left it was copied up, or nobody can find it.
    if (lost == 0 || lost == links.size()) continue;
    LB_TRY(finish_copy(file));
    if (!nodes_.known(file)) nodes_.add(node_with_lost_names(file, lost));
  }
  return {};
}

void LostNames::recall(const std::vector<Lost>& lost_names) {
  for (const auto& lost : lost_names) {
    if (lost.row == tree::kNoNode || nodes_.known(lost.row)) continue;
    const auto& record = lower_.tree.node(lost.row);
    if (S_ISDIR(record.mode) || lost.count >= record.nlink) continue;
    nodes_.add(node_with_lost_names(lost.row, lost.count));
  }
}

Result<void> LostNames::recall(LowerPaths& paths, const std::vector<CleanStop::LostNames>& lost_names) {
  for (const auto& lost : lost_names) {
    LB_ASSIGN(const tree::NodeId row, paths.at(lost.path));
    recall({{.row = row, .count = lost.count}});
  }
  return {};
}

std::vector<LostNames::Lost> LostNames::all() const {
  std::vector<Lost> list;
  for (const auto& [id, node] : nodes_.all()) {
    if (node->standing != Standing::kLowerOnly || node->is_directory() || node->lost_names == 0) continue;
    // With no name left nobody can find it.
    if (node->lost_names >= lower_.tree.node(node->lower).nlink) continue;
    list.push_back({.row = node->lower, .count = node->lost_names});
  }
  return list;
}

}  // namespace layerboot::overlay
