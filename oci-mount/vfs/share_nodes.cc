#include "oci-mount/vfs/share_nodes.h"

#include <algorithm>
#include <climits>
#include <utility>
#include <vector>

namespace layerboot::vfs {

ShareNodes::ShareNodes(const Identity& root, MemoryBudget& budget) : root_identity_(root), budget_(budget) {
  forget_all();
}

ShareNodes::~ShareNodes() {
  forget_all();
  budget_.give_back(kNodeBytes);
}

Result<ShareNodePtr> ShareNodes::find(NodeId id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return fail(ESTALE);
  return found->second;
}

ShareNodePtr ShareNodes::known(const Identity& identity) const {
  const auto found = by_number_.find(number_of(identity));
  if (found == by_number_.end() || found->second->identity != identity) return nullptr;
  return by_id_.at(found->second->id);
}

namespace {

/// What lies outside of its node.
std::int64_t name_bytes(std::string_view name) {
  return name.size() <= std::string().capacity() ? 0 : static_cast<std::int64_t>(name.size()) + 1;
}

/// Whether `node` is `from` or above it. What is remembered of the way up may be old, and a node must not
/// come to lie below itself: whoever walks up would walk for ever.
bool is_on_way_up(const ShareNode& node, const ShareNode* from) {
  for (const ShareNode* at = from; at != nullptr; at = at->parent.get()) {
    if (at == &node) return true;
  }
  return false;
}

}  // namespace

std::int64_t ShareNodes::bytes_of_new(std::string_view name) { return kNodeBytes + name_bytes(name); }

std::int64_t ShareNodes::growth(const ShareNode& node, std::string_view name) {
  return name_bytes(name) - name_bytes(node.name);
}

bool ShareNodes::has_room(std::int64_t bytes) {
  return bytes <= 0 || budget_.has_room(static_cast<std::uint64_t>(bytes));
}

ShareNodePtr ShareNodes::add(const Identity& identity) {
  budget_.take_anyway(kNodeBytes);
  auto node = std::make_shared<ShareNode>();
  node->memory_bytes = kNodeBytes;
  node->id = next_id_++;
  node->identity = identity;
  by_id_[node->id] = node;
  // Whatever had the number before is no more.
  by_number_[number_of(identity)] = node.get();
  return node;
}

Result<ShareNodePtr> ShareNodes::put(const ShareNodePtr& parent, std::string_view name,
                                     const Identity& identity, Room room) {
  ShareNodePtr node = known(identity);
  // The top, seen below itself: the host has changed under our hands.
  if (node && node->is_root()) return fail(ESTALE);
  if (node && node->parent == parent && node->name == name) return node;
  if (node && is_on_way_up(*node, parent.get())) return fail(ESTALE);
  if (room == Room::kAsk && !has_room(node ? growth(*node, name) : bytes_of_new(name))) return fail(ENOMEM);
  if (!node) node = add(identity);
  move(node, parent, name);
  return node;
}

ShareNodePtr ShareNodes::put_nameless(const Identity& identity, overlay::SharedFd held) {
  ShareNodePtr node = add(identity);
  node->held = std::move(held);
  ++held_count_;
  return node;
}

Result<std::string> ShareNodes::path(const ShareNode& node) {
  if (node.is_root()) return std::string(".");
  std::vector<const ShareNode*> way;
  std::size_t size_bytes = 0;
  for (const ShareNode* at = &node; !at->is_root(); at = at->parent.get()) {
    if (!at->parent) return fail(ESTALE);
    size_bytes += at->name.size() + 1;
    if (size_bytes > PATH_MAX) return fail(ENAMETOOLONG);
    way.push_back(at);
  }
  std::string path;
  path.reserve(size_bytes);
  for (; !way.empty(); way.pop_back()) {
    if (!path.empty()) path += '/';
    path += way.back()->name;
  }
  return path;
}

void ShareNodes::set_parent(ShareNode& node, const ShareNodePtr& parent) {
  const ShareNodePtr before = std::exchange(node.parent, parent);
  if (parent) ++parent->children;
  if (!before) return;
  --before->children;
  release_if_unused(before);
}

void ShareNodes::set_name(ShareNode& node, std::string_view name) {
  std::string(name).swap(node.name);  // assigned, it would keep the room of a longer one
  budget_.give_back(node.memory_bytes);
  node.memory_bytes = static_cast<std::uint64_t>(bytes_of_new(name));
  budget_.take_anyway(node.memory_bytes);
}

void ShareNodes::move(const ShareNodePtr& node, const ShareNodePtr& parent, std::string_view name) {
  if (is_on_way_up(*node, parent.get())) return lose_name(node, nullptr);
  set_name(*node, name);
  if (std::exchange(node->held, nullptr)) --held_count_;
  set_parent(*node, parent);
}

void ShareNodes::lose_name(const ShareNodePtr& node, overlay::SharedFd held) {
  if (held && !node->held) ++held_count_;
  if (held) node->held = std::move(held);
  set_name(*node, {});
  set_parent(*node, nullptr);
}

ShareNodePtr ShareNodes::forget(NodeId id, std::uint64_t count) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || id == kRootId) return nullptr;
  const ShareNodePtr node = found->second;
  node->references -= std::min(node->references, count);
  release_if_unused(node);
  return node->references == 0 ? node : nullptr;
}

void ShareNodes::release_if_unused(ShareNodePtr node) {
  // A loop, for a client nests as deep as it likes.
  while (node && !node->is_root() && !node->erased && node->references == 0 && node->children == 0 &&
         node->pins == 0) {
    node->erased = true;
    budget_.give_back(std::exchange(node->memory_bytes, 0));
    if (node->held) --held_count_;
    if (const auto known = by_number_.find(number_of(node->identity));
        known != by_number_.end() && known->second == node.get()) {
      by_number_.erase(known);
    }
    by_id_.erase(node->id);
    ShareNodePtr parent = std::exchange(node->parent, nullptr);
    if (parent) --parent->children;
    node = std::move(parent);
  }
}

void ShareNodes::forget_all() {
  // One by one: a deep chain of parents would be destroyed by as deep a recursion.
  for (const auto& [id, node] : by_id_) {
    node->parent.reset();
    node->erased = true;
    budget_.give_back(std::exchange(node->memory_bytes, 0));
  }
  by_id_.clear();
  by_number_.clear();
  held_count_ = 0;
  auto root = std::make_shared<ShareNode>();
  root->id = kRootId;
  root->identity = root_identity_;
  root->memory_bytes = kNodeBytes;
  budget_.take_anyway(kNodeBytes);
  by_number_[number_of(root_identity_)] = root.get();
  by_id_[kRootId] = std::move(root);
}

}  // namespace layerboot::vfs
