#include "oci-mount/base/bytes_in_flight.h"

#include <algorithm>

namespace layerboot {

void BytesInFlight::Charge::shrink(std::uint64_t bytes) {
  if (bytes >= bytes_) return;
  account_->release(bytes_ - bytes);
  bytes_ = bytes;
}

bool BytesInFlight::take_locked(std::uint64_t bytes) {
  if (bytes > capacity_bytes_ - used_bytes_) return false;
  used_bytes_ += bytes;
  meter_.add(bytes);
  return true;
}

BytesInFlight::Acquire BytesInFlight::acquire(Reactor& reactor, std::uint64_t bytes) {
  return {*this, reactor, std::min(bytes, capacity_bytes_)};
}

BytesInFlight::Charge BytesInFlight::try_acquire(std::uint64_t bytes) {
  bytes = std::min(bytes, capacity_bytes_);
  const std::lock_guard lock(mutex_);
  if (!waiting_.empty() || !take_locked(bytes)) return {};
  return {this, bytes};
}

bool BytesInFlight::Acquire::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  const std::lock_guard lock(account_.mutex_);
  if (account_.waiting_.empty() && account_.take_locked(bytes_)) return false;
  account_.waiting_.push_back(this);
  return true;
}

void BytesInFlight::release(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  used_bytes_ -= bytes;
  meter_.subtract(bytes);
  while (!waiting_.empty() && take_locked(waiting_.front()->bytes_)) {
    Acquire* const first = waiting_.front();
    waiting_.pop_front();
    // From here on it is its reactor's: it may be gone as soon as the post is made.
    first->reactor_.post([handle = first->awaiter_] { handle.resume(); });
  }
}

}  // namespace layerboot
