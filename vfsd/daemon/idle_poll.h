// IdlePoll: when it pays to look at an empty ring a little longer before going to sleep.
//
// A request that comes within that time spares the guest a kick (an exit out of the VM) and this side a
// wake-up. A guest that shares our core can't come while we look: whoever looked in vain looks ever less
// often, and one request that came in time, as happens by chance, takes back one step of that only.
#pragma once

#include <algorithm>
#include <chrono>

#include "oci-mount/base/cpu_pause.h"

namespace layerboot::vfsd {

/// Belongs to one thread.
class IdlePoll {
 public:
  /// By measurement: bench/DESIGN.md.
  static constexpr std::chrono::microseconds kTime{50};
  /// After many a vain look, one idle moment in this many is still tried.
  static constexpr unsigned kMaxSkipped = 1023;

  /// Looks by `arrived` until it says true or the time is up; false, too, when it is not worth looking at
  /// all.
  template <typename Arrived>
  [[nodiscard]] bool wait(Arrived arrived) {
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    const auto end = Clock::now() + kTime;
    do {
      for (unsigned i = 0; i < kLooksPerClock; ++i) {
        if (arrived()) {
          next_skip_ /= 2;
          return true;
        }
        cpu_pause();
      }
    } while (Clock::now() < end);
    next_skip_ = std::min(2 * next_skip_ + 1, kMaxSkipped);
    skip_ = next_skip_;
    return false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr unsigned kLooksPerClock = 16;

  unsigned skip_ = 0;       // idle moments to let pass
  unsigned next_skip_ = 0;  // as many after the next vain look, doubled; halved by one that was not
};

}  // namespace layerboot::vfsd
