#include "guest-init/swap.h"

#include <sys/swap.h>

#include <cerrno>
#include <ctime>

#include "guest-init/console.h"
#include "guest-init/mounts.h"

namespace guest_init {

namespace {

constexpr int kRetryMs = 20;

}  // namespace

void use_swap(const std::string& device) {
  for (int waited_ms = 0;; waited_ms += kRetryMs) {
    // Both once for all of it, and page by page as it is freed.
    if (swapon(device.c_str(), SWAP_FLAG_DISCARD) == 0) return;
    if ((errno != ENOENT && errno != ENXIO) || waited_ms >= kRootWaitMs) break;
    timespec pause{0, kRetryMs * 1'000'000L};
    nanosleep(&pause, nullptr);
  }
  say("no swap: " + device + because() + (errno == ENOSYS ? "; this kernel has no swap" : ""));
}

}  // namespace guest_init
