#include "vfsd/fuse/gate.h"

#include <algorithm>

namespace layerboot::vfsd::fuse {

namespace {

/// Which of the counters is the calling thread's.
std::size_t number_of_thread() {
  static std::atomic<std::size_t> next = 0;
  static thread_local const std::size_t number = next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

}  // namespace

// Both count first and look at the other's word then, in one order for all threads: so either who enters sees
// that the gate is being closed, or who closes it sees that somebody has entered.

Gate::Pass Gate::enter() {
  auto& within = counters_[number_of_thread() % kCounters].within;
  within.fetch_add(1);
  if (closers_.load() == 0) return {*this, within};
  leave(within);
  return {};
}

void Gate::leave(std::atomic<std::int64_t>& within) {
  within.fetch_sub(1);
  if (closers_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  let_next_close();
}

Gate::Close Gate::close(Reactor& reactor) { return {*this, reactor}; }

bool Gate::Close::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  const std::lock_guard lock(gate_.mutex_);
  gate_.closers_.fetch_add(1);
  if (gate_.waiting_.empty() && gate_.may_close()) {
    gate_.is_closed_ = true;
    return false;
  }
  gate_.waiting_.push_back(this);
  return true;
}

bool Gate::may_close() const {
  return !is_closed_ &&
         std::ranges::all_of(counters_, [](const Counter& counter) { return counter.within.load() == 0; });
}

void Gate::let_next_close() {
  if (waiting_.empty() || !may_close()) return;
  is_closed_ = true;
  Close* const first = waiting_.front();
  waiting_.pop_front();
  // From here on it is its reactor's: it may be gone as soon as the post is made.
  first->reactor_.post([handle = first->awaiter_] { handle.resume(); });
}

void Gate::open() {
  const std::lock_guard lock(mutex_);
  is_closed_ = false;
  closers_.fetch_sub(1);
  let_next_close();
}

}  // namespace layerboot::vfsd::fuse
