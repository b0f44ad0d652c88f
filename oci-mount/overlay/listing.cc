#include "oci-mount/overlay/listing.h"

#include <utility>

#include "oci-mount/overlay/node.h"

namespace layerboot::overlay {

Child child_of(const NodePtr& node) {
  Child child;
  child.type = dirent_type(node->type);
  child.host_ino = node->host_ino;
  child.node = node;
  return child;
}

Child whiteout_child() {
  Child child;
  child.whiteout = true;
  return child;
}

Child* Listing::find(std::string_view name) {
  const auto known = children_.find(name);
  return known == children_.end() ? nullptr : &known->second;
}

void Listing::put(std::string_view name, Child child, bool has_lower) {
  if (Child* const known = find(name); known != nullptr) {
    child.sequence = known->sequence;
    *known = std::move(child);
    return;
  }
  if (!has_lower) child.sequence = next_sequence_++;
  const auto put = children_.emplace(std::string(name), std::move(child)).first;
  if (!has_lower) upper_only_.emplace(put->second.sequence, put->first);
}

void Listing::erase(std::string_view name) {
  const auto known = children_.find(name);
  if (known == children_.end()) return;
  const auto order = upper_only_.find(known->second.sequence);
  if (order != upper_only_.end() && order->second == name) upper_only_.erase(order);
  children_.erase(known);
}

void Listing::rename(std::string_view from, std::string_view to, Child child, bool to_has_lower) {
  const Child* const before = find(from);
  const bool keeps_place = before != nullptr && !to_has_lower && find(to) == nullptr &&
                           upper_only_.contains(before->sequence) && upper_only_.at(before->sequence) == from;
  if (!keeps_place) {
    erase(from);
    put(to, std::move(child), to_has_lower);
    return;
  }
  child.sequence = before->sequence;
  upper_only_.erase(child.sequence);
  children_.erase(children_.find(from));
  const auto put = children_.emplace(std::string(to), std::move(child)).first;
  upper_only_.emplace(put->second.sequence, put->first);
}

}  // namespace layerboot::overlay
