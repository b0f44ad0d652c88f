#include "oci-mount/overlay/overlay_lock.h"

#include <thread>
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
  ++contenders_;
  mutex_.lock();
  --contenders_;
  ++handed_over_;
}

/// Who was woken needs longer to come to the lock than the one who wakes him.
void OverlayLock::give_way() {
  constexpr int kMoments = 1000;
  const auto before = handed_over_.load();
  const auto is_wanted = [&] { return contenders_.load() > 0 || woken_.load() > 0; };
  for (int i = 0; i < kMoments && is_wanted() && handed_over_.load() == before; ++i) {
    std::this_thread::yield();
  }
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
  const bool wake = claims_ == 0 && is_to_wake();
  mutex_.unlock();
  if (wake) changed_.notify_all();
}

bool OverlayLock::is_to_wake() {
  woken_ = waiting_;
  return waiting_ > 0;
}

void OverlayLock::wait() {
  std::unique_lock lock(mutex_, std::adopt_lock);
  ++waiting_;
  changed_.wait(lock);
  --waiting_;
  if (woken_ > 0) --woken_;
  ++handed_over_;
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
  if (lock_.is_to_wake()) lock_.changed_.notify_all();
}

}  // namespace layerboot::overlay
