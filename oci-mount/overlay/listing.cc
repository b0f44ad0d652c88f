#include "oci-mount/overlay/listing.h"

#include <algorithm>
#include <utility>

#include "oci-mount/overlay/node.h"

namespace layerboot::overlay {

Child child_of(const NodePtr& node) {
  Child child;
  child.type = dirent_type(node->type);
  child.host_ino = node->host_ino;
  child.id = node->id;
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

void Listing::count(const Child& child) {
  if (child.whiteout) ++whiteouts_;
  if (child.whiteout && child.has_lower) ++hidden_;
}

void Listing::uncount(const Child& child) {
  if (child.whiteout) --whiteouts_;
  if (child.whiteout && child.has_lower) --hidden_;
}

void Listing::put(std::string_view name, Child child, bool has_lower) {
  child.has_lower = has_lower;
  // Its place in listings is another then.
  if (const Child* const known = find(name); known != nullptr && known->has_lower != has_lower) erase(name);
  count(child);
  if (Child* const known = find(name); known != nullptr) {
    uncount(*known);
    child.sequence = known->sequence;
    *known = std::move(child);
    return;
  }
  if (!has_lower) child.sequence = next_sequence_++;
  const auto put = children_.emplace(std::string(name), std::move(child)).first;
  pay_for(put->first);
  if (!has_lower) upper_only_.push_back({put->second.sequence, &put->first});
}

void Listing::erase(std::string_view name) {
  const auto known = children_.find(name);
  if (known == children_.end()) return;
  if (Appeared* const entry = appeared_as(known->second.sequence, name); entry != nullptr) drop(*entry);
  erase(known);
}

void Listing::forget_lower() {
  for (auto& [name, child] : children_) {
    if (!child.has_lower) continue;
    uncount(child);
    child.has_lower = false;
    child.sequence = next_sequence_++;
    count(child);
    upper_only_.push_back({child.sequence, &name});
  }
}

Listing::Order::const_iterator Listing::at_or_after(std::uint64_t sequence) const {
  return std::ranges::lower_bound(upper_only_, sequence, {}, &Appeared::sequence);
}

Listing::Appeared* Listing::appeared_as(std::uint64_t sequence, std::string_view name) {
  const auto at = at_or_after(sequence);
  if (at == upper_only_.end() || at->sequence != sequence || at->name == nullptr || *at->name != name)
    return nullptr;
  return &upper_only_[static_cast<std::size_t>(at - upper_only_.begin())];
}

/// Entries that are gone are cleared away when they are the half: each name pays for that once.
void Listing::drop(Appeared& entry) {
  constexpr std::size_t kFew = 16;
  entry.name = nullptr;
  ++gone_;
  if (gone_ < kFew || gone_ * 2 < upper_only_.size()) return;
  std::erase_if(upper_only_, [](const Appeared& one) { return one.name == nullptr; });
  gone_ = 0;
  if (upper_only_.size() * 4 < upper_only_.capacity()) upper_only_.shrink_to_fit();
}

const std::string* Listing::next_upper_only(std::uint64_t& sequence) const {
  auto at = at_or_after(sequence);
  while (at != upper_only_.end() && at->name == nullptr) ++at;
  if (at == upper_only_.end()) return nullptr;
  sequence = at->sequence;
  return at->name;
}

void Listing::erase(Children::iterator known) {
  memory_share_.set(memory_share_.bytes() - bytes_of(known->first));
  uncount(known->second);
  children_.erase(known);
}

void Listing::rename(std::string_view from, std::string_view to, Child child, bool to_has_lower) {
  const Child* const before = find(from);
  Appeared* const entry = before != nullptr ? appeared_as(before->sequence, from) : nullptr;
  if (entry == nullptr || to_has_lower || find(to) != nullptr) {
    erase(from);
    put(to, std::move(child), to_has_lower);
    return;
  }
  child.sequence = before->sequence;
  child.has_lower = false;
  count(child);
  erase(children_.find(from));
  const auto put = children_.emplace(std::string(to), std::move(child)).first;
  pay_for(put->first);
  entry->name = &put->first;
}

}  // namespace layerboot::overlay
