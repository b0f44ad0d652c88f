#include "oci-mount/overlay/node_table.h"

#include <algorithm>
#include <utility>

namespace layerboot::overlay {

bool NodeTable::is_row_released(NodeId id, std::uint64_t count) {
  return tree_.contains(id) && rows_.take_references(static_cast<tree::NodeId>(id), count);
}

Result<Ref> NodeTable::find(NodeId id) const {
  if (NodePtr node = known(id); node) {
    if (!node->is_root() && !is_referenced(*node)) return fail(ESTALE);
    const tree::NodeId lower = node->lower;
    return Ref{std::move(node), lower};
  }
  if (is_held_untouched(id)) return Ref{nullptr, static_cast<tree::NodeId>(id)};
  return fail(ESTALE);
}

Result<Ref> NodeTable::find_directory(NodeId id) const {
  LB_ASSIGN(Ref ref, find(id));
  const std::uint32_t type = ref.node ? ref.node->type : tree_.node(ref.lower).mode & kTypeBits;
  if (type != S_IFDIR) return fail(ENOTDIR);
  if (ref.node && ref.node->is_removed()) return fail(ENOENT);
  return ref;
}

Ref NodeTable::row(tree::NodeId row) const {
  NodePtr node = known(row);
  const tree::NodeId lower = node ? node->lower : row;
  return {std::move(node), lower};
}

NodePtr NodeTable::known(NodeId id) const {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : found->second;
}

bool NodeTable::is_number_of(NodeId id, std::uint64_t host_ino) const {
  const NodePtr node = known(id);
  return node && node->has_body() && node->host_ino == host_ino;
}

NodePtr NodeTable::known_at(std::uint64_t host_ino) const {
  const NodeId by_itself = kUpperIdBase + host_ino;
  if (is_number_of(by_itself, host_ino)) return known(by_itself);
  const auto other = by_ino_.find(host_ino);
  if (other == by_ino_.end() || !is_number_of(other->second, host_ino)) return nullptr;
  return known(other->second);
}

/// The row the object came from keeps being its number, unless something else has that already, as after a
/// copy made on the host by other means.
NodeId NodeTable::number_for(tree::NodeId origin, std::uint64_t host_ino) {
  // An inode in memory keeps its number, whatever it says of where it is from: another Node for it would be
  // charged for it a second time.
  if (const NodePtr same = known_at(host_ino); same) return same->id;
  if (origin != tree::kNoNode) {
    const NodePtr taken = known(origin);
    if (!taken || (taken->has_body() && taken->host_ino == host_ino)) return origin;
  }
  const NodeId id = kUpperIdBase + host_ino;
  // A removed directory has no inode any more, but the client may still hold its number.
  if (const NodePtr taken = known(id); taken && taken->is_gone()) return next_spare_id_++;
  return id;
}

namespace {

std::size_t node_bytes(const Node& node) {
  const auto& acl = node.directory.default_acl;
  return NodeTable::kNodeBytes + heap_bytes(node.name) + (acl ? heap_bytes(*acl) : 0);
}

}  // namespace

void NodeTable::add(const NodePtr& node) {
  pay_for(*node);
  if (node->parent) ++node->parent->holders.loaded_children;
  if (tree_.contains(node->id)) {
    rows_.touch(static_cast<tree::NodeId>(node->id));
  }
  if (node->has_body() && node->id != kUpperIdBase + node->host_ino) by_ino_[node->host_ino] = node->id;
  nodes_[node->id] = node;
  may_go(*node);
}

void NodeTable::pay_for(Node& node) { node.memory_share.set(node_bytes(node)); }

void NodeTable::move(const NodePtr& node, const NodePtr& parent, std::string name) {
  if (node->parent && --node->parent->holders.loaded_children == 0 && known(node->parent->id) == node->parent)
    may_go(*node->parent);
  if (!node->way.is_durable()) node->way.change();  // who syncs the old place right now does not sync this
  node->parent = parent;
  node->name = std::move(name);
  pay_for(*node);
  if (parent) ++parent->holders.loaded_children;
}

void NodeTable::erase(const NodePtr& node) {
  const auto known = nodes_.find(node->id);
  if (known == nodes_.end() || known->second != node) return;
  loose_.erase(node->id);
  nodes_.erase(known);
  const auto by_ino = by_ino_.find(node->host_ino);
  if (by_ino != by_ino_.end() && by_ino->second == node->id) by_ino_.erase(by_ino);
}

void NodeTable::add_reference(Node& node) {
  if (tree_.contains(node.id)) {
    rows_.add_reference(static_cast<tree::NodeId>(node.id));
  } else {
    ++node.holders.references;
  }
}

void NodeTable::take_references(Node& node, std::uint64_t count) {
  node.holders.references -= std::min(count, node.holders.references);
}

bool NodeTable::is_referenced(const Node& node) const {
  if (tree_.contains(node.id)) return rows_.references(static_cast<tree::NodeId>(node.id)) > 0;
  return node.holders.references > 0;
}

bool NodeTable::stays_for_session(const Node& node) const {
  if (node.directory.leads_nowhere && node.standing == Standing::kNamed) return true;
  if (!tree_.contains(node.id) || node.is_gone()) return false;
  if (node.is_directory()) return !node.is_removed();
  if (node.standing == Standing::kLowerOnly) return node.lost_names < tree_.node(node.lower).nlink;
  return node.standing != Standing::kNamed || node.lost_names > 0;
}

void NodeTable::clear() {
  // One by one: a deep chain of parents would be destroyed by as deep a recursion.
  for (const auto& [id, node] : nodes_) {
    node->parent.reset();
    node->standing = Standing::kGone;
  }
  nodes_.clear();
  loose_.clear();
  by_ino_.clear();
  rows_.clear();
}

}  // namespace layerboot::overlay
