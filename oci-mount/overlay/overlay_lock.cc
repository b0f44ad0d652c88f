#include "oci-mount/overlay/overlay_lock.h"

#include <utility>

#include "oci-mount/base/cpu_pause.h"
#include "oci-mount/overlay/node.h"

namespace layerboot::overlay {

/// What is done under the lock takes a microsecond or so, less than to sleep and be woken.
void OverlayLock::lock_mutex() {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    if (mutex_.try_lock()) return;
    cpu_pause();
  }
  mutex_.lock();
}

void OverlayLock::lock() {
  lock_mutex();
  while (claims_ > 0) {
    ++waiting_for_whole_;
    wait();
    --waiting_for_whole_;
  }
}

void OverlayLock::unlock() {
  const auto closing = closing_.take();
  const bool wake = waiting_ > 0 && claims_ == 0;
  mutex_.unlock();
  if (wake) changed_.notify_all();
}

void OverlayLock::wait() {
  std::unique_lock lock(mutex_, std::adopt_lock);
  ++waiting_;
  changed_.wait(lock);
  --waiting_;
  static_cast<void>(lock.release());
}

bool PartLock::may_use(const Node& directory, For what) {
  const bool others_first = what == For::kClaiming && lock_.waiting_for_whole_ > 0;
  if (!directory.directory.claimed && !others_first) return true;
  lock_.wait();
  return false;
}

void PartLock::begin_claim(Node& directory) {
  directory.directory.claimed = true;
  ++lock_.claims_;
  lock_.unlock();
}

void PartLock::end_claim(Node& directory) {
  lock_.lock_mutex();
  directory.directory.claimed = false;
  --lock_.claims_;
  if (lock_.waiting_ > 0) lock_.changed_.notify_all();
}

}  // namespace layerboot::overlay
