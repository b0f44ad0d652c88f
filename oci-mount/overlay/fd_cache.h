// FdCache: open descriptors of upper objects, the least recently used closed first.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/types.h"

namespace layerboot::overlay {

/// A descriptor that lives until its last user lets go.
using SharedFd = std::shared_ptr<const UniqueFd>;

/// What is let go of where nobody should wait for its end: a descriptor, for which the host may have to free
/// the file, or to write it out; a directory's names.
class Closing {
 public:
  using Last = std::shared_ptr<const void>;
  /// More end on the spot.
  static constexpr std::size_t kMost = 64;

  void add(Last last) {
    if (last_.size() < kMost) last_.push_back(std::move(last));
  }
  /// To be destroyed where there is time for it.
  [[nodiscard]] std::vector<Last> take() { return std::exchange(last_, {}); }

 private:
  std::vector<Last> last_;
};

/// Keeps at most kMaxOpen descriptors, whatever the client touches. A descriptor in use stays open until its
/// user lets go, dropped from the cache or not. Not thread-safe: under the Overlay's lock.
class FdCache {
 public:
  static constexpr std::size_t kMaxOpen = 128;
  using Fd = SharedFd;

  /// Descriptors that are let go of from now on are left to `closing`, which outlives this.
  void close_by(Closing& closing) { closing_ = &closing; }

  /// Null when there is none.
  Fd get(NodeId id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
  }
  Fd put(NodeId id, UniqueFd fd) {
    drop(id);
    recent_.emplace_front(id, std::make_shared<const UniqueFd>(std::move(fd)));
    by_id_[id] = recent_.begin();
    if (recent_.size() > kMaxOpen) drop(recent_.back().first);
    return recent_.front().second;
  }
  /// The cache keeps it no more; null where there is none.
  Fd take(NodeId id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return nullptr;
    Fd fd = std::move(found->second->second);
    recent_.erase(found->second);
    by_id_.erase(found);
    return fd;
  }
  void drop(NodeId id) {
    Fd fd = take(id);
    if (fd && closing_ != nullptr) closing_->add(std::move(fd));
  }
  void clear() {
    by_id_.clear();
    recent_.clear();
  }
  [[nodiscard]] std::size_t size() const { return recent_.size(); }

 private:
  Closing* closing_ = nullptr;
  std::list<std::pair<NodeId, Fd>> recent_;
  std::unordered_map<NodeId, std::list<std::pair<NodeId, Fd>>::iterator> by_id_;
};

}  // namespace layerboot::overlay
