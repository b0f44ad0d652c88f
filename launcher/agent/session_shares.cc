#include "launcher/agent/session_shares.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace layerboot::launcher {

SessionShares::Id SessionShares::join(std::function<void()> there_is_room) {
  shares_.emplace(++last_id_, Share{.there_is_room = std::move(there_is_room)});
  return last_id_;
}

void SessionShares::leave(Id id) {
  shares_.erase(id);
  call_waiting();  // what was kept for it is free
}

/// Half of all is kept so at most.
std::size_t SessionShares::kept_for_each() const {
  return std::min(kMaxKeptForEach, kMaxForAll / 2 / std::max<std::size_t>(shares_.size(), 1));
}

bool SessionShares::has_room(Id id) const {
  const auto own = shares_.find(id);
  if (own == shares_.end() || own->second.used >= kMaxEach) return false;
  const std::size_t kept = kept_for_each();
  if (own->second.used < kept) return used_ < kMaxForAll;
  std::size_t wanted = used_ + 1;
  for (const auto& [other, share] : shares_) {
    if (other != id) wanted += kept - std::min(kept, share.used);
  }
  return wanted <= kMaxForAll;
}

void SessionShares::wait(Id id) { shares_.at(id).waits = true; }

void SessionShares::take(Id id) {
  ++shares_.at(id).used;
  ++used_;
}

void SessionShares::give_back(Id id) {
  --used_;
  if (const auto own = shares_.find(id); own != shares_.end()) --own->second.used;
}

void SessionShares::call_waiting() {
  std::vector<Id> waiting;
  for (const auto& [id, share] : shares_) {
    if (share.waits) waiting.push_back(id);
  }
  if (waiting.empty()) return;
  std::ranges::rotate(waiting, std::ranges::upper_bound(waiting, last_called_));
  last_called_ = waiting.front();
  for (const Id id : waiting) {
    const auto own = shares_.find(id);
    if (own == shares_.end()) continue;  // left, since somebody else was called
    own->second.waits = false;
    own->second.there_is_room();
  }
}

}  // namespace layerboot::launcher
