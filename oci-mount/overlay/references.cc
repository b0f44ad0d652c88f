// What keeps objects known: the client's references, requests at work, and what ends when they are gone.
#include <algorithm>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

Overlay::Pin::~Pin() {
  if (overlay_ == nullptr) return;
  const std::lock_guard lock(overlay_->mutex_);
  --node_->pins;
  overlay_->release_if_unused(std::move(node_));
}

Result<Overlay::Pin> Overlay::pin(Result<NodePtr> node) {
  if (!node) return std::unexpected(std::move(node).error());
  return Pin(*this, *std::move(node));
}

// ---- lower references and marks
// ------------------------------------------------------------------------------

bool Overlay::untouched(NodeId id) const {
  return lower_.tree.contains(id) && (lower_state_[id].load(std::memory_order_acquire) & kTouched) == 0;
}

void Overlay::touch(tree::NodeId id) { lower_state_[id].fetch_or(kTouched, std::memory_order_release); }

void Overlay::add_lower_reference(tree::NodeId id) {
  auto& state = lower_state_[id];
  // Saturates: a client that never forgets keeps the object for the session.
  if ((state.load(std::memory_order_relaxed) & kReferences) < kReferences / 2) {
    state.fetch_add(1, std::memory_order_relaxed);
  }
}

std::uint32_t Overlay::lower_references(tree::NodeId id) const {
  return lower_state_[id].load(std::memory_order_relaxed) & kReferences;
}

void Overlay::forget(NodeId id, std::uint64_t count) {
  if (lower_.tree.contains(id)) {
    auto& state = lower_state_[id];
    std::uint32_t before = state.load(std::memory_order_relaxed);
    std::uint32_t after = 0;
    do {
      const std::uint64_t taken = std::min<std::uint64_t>(count, before & kReferences);
      after = before - static_cast<std::uint32_t>(taken);
    } while (!state.compare_exchange_weak(before, after, std::memory_order_relaxed));
    if (after != kTouched) return;
  }
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  const NodePtr node = found->second;
  node->references -= std::min(count, node->references);
  release_if_unused(node);
}

void Overlay::add_reference(Node& node) {
  if (lower_.tree.contains(node.id)) {
    add_lower_reference(static_cast<tree::NodeId>(node.id));
  } else {
    ++node.references;
  }
}

/// An object whose last name is gone goes with the client's last reference; others leave memory.
void Overlay::release_if_unused(NodePtr node) {
  // Parents that were only kept by their children follow them.
  while (node) {
    const bool numbered_by_tree = lower_.tree.contains(node->id);
    const std::uint64_t references =
        numbered_by_tree ? lower_references(static_cast<tree::NodeId>(node->id)) : node->references;
    if (references > 0 || node->loaded_children > 0 || node->pins > 0) return;
    if (node->orphan) free_orphan(*node);
    if (node->in_work() && free_work_object(*node)) {
      remember_growth(*node);
      return forget_node(node);
    }
    if (node->never_evict) return;
    // What it has grown by must not be lost to the quota.
    if ((!node->attr_valid || node->times_stale) && !node->removed) static_cast<void>(attr_of(*node));
    remember_growth(*node);
    NodePtr parent = node->parent;
    move_node(node, nullptr, {});
    fds_.drop(node->id);
    forget_node(node);
    node->removed = true;  // for whoever still has it in hand
    node = std::move(parent);
  }
}

void Overlay::remember_growth(const Node& node) {
  if (node.grows_late && !node.removed) late_growth_.remember(node.host_ino, node.charged_bytes);
}

void Overlay::forget_node(const NodePtr& node) {
  const auto known = nodes_.find(node->id);
  if (known != nodes_.end() && known->second == node) nodes_.erase(known);
}

/// True when the object lives on by other names, where it will be met again.
bool Overlay::free_work_object(Node& node) {
  fds_.drop(node.id);
  const Place place{upper_.work_fd(), node.name.c_str()};
  const auto st = stat_at(place);
  if (st) book(node, *st);
  if (auto gone = unlink_at(place); !gone) {
    log_warn("cannot remove an unlinked file from the work directory: ", gone.error().describe());
  }
  if (st && st->st_nlink > 1) return true;
  book_out(node);
  node.removed = true;
  return false;
}

}  // namespace layerboot::overlay
