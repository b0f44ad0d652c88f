#include "guest-init/swap.h"

#include <sys/swap.h>

#include <cerrno>

#include "guest-init/console.h"
#include "guest-init/mounts.h"

namespace guest_init {

void use_swap(const std::string& device) {
  // Both once for all of it, and page by page as it is freed.
  const auto attempt = [&device] { return swapon(device.c_str(), SWAP_FLAG_DISCARD) == 0; };
  const auto may_come = [](int error) { return error == ENOENT || error == ENXIO; };
  if (try_until_there("the disk to swap to, " + device, attempt, may_come)) return;
  say("no swap: " + device + because() + (errno == ENOSYS ? "; this kernel has no swap" : ""));
}

}  // namespace guest_init
