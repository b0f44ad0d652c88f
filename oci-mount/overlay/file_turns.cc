#include "oci-mount/overlay/file_turns.h"

namespace layerboot::overlay {

FileTurns::Alone::~Alone() {
  if (!holds()) return;
  const PartLock lock(turns_->mutex_);
  end();
}

void FileTurns::Alone::end() {
  if (const NodePtr node = std::exchange(node_, nullptr); node) turns_->end(*node);
}

Task<FileTurns::Alone> FileTurns::take(Reactor& reactor, NodePtr node) {
  for (;;) {
    {
      const PartLock lock(mutex_);
      if (may_change(*node)) {
        take_now(*node);
        break;
      }
    }
    co_await until(reactor, *node, Until::kMayChange);
  }
  Alone alone(*this, node);
  for (;;) {  // nobody begins meanwhile
    {
      const PartLock lock(mutex_);
      if (is_unchanged(*node)) break;
    }
    co_await Wait(*this, reactor, *node, &is_unchanged);
  }
  co_return std::move(alone);
}

void FileTurns::end(Node& node) {
  node.file.is_taken = false;
  node.file.may_keep_bytes = 0;
  node.file.is_kept_whole = false;
  if (!waiters_.empty()) wake(node);
}

/// All of them, to look for themselves.
void FileTurns::wake(const Node& node) {
  const auto [first, last] = waiters_.equal_range(&node);
  for (auto waiter = first; waiter != last; ++waiter) {
    waiter->second.reactor.post([handle = waiter->second.handle] { handle.resume(); });
  }
  waiters_.erase(first, last);
}

bool FileTurns::Wait::await_suspend(std::coroutine_handle<> handle) {
  const PartLock lock(turns_.mutex_);
  if (holds_(node_)) return false;
  turns_.waiters_.emplace(&node_, Waiter{reactor_, handle});
  return true;
}

}  // namespace layerboot::overlay
