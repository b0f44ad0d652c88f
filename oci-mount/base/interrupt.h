// Whether somebody wants what takes long to end.
#pragma once

#include <array>
#include <csignal>

#include "oci-mount/base/result.h"

namespace layerboot {

inline constexpr std::array kInterruptSignals = {SIGINT, SIGTERM, SIGHUP};

/// EINTR's Error where one of these signals has come while it is blocked: it stays pending, and ends the
/// process when it no longer is. Where none is blocked, none is seen here.
inline Result<void> check_interrupted() {
  sigset_t pending;
  sigemptyset(&pending);
  ::sigpending(&pending);
  for (const int number : kInterruptSignals) {
    if (sigismember(&pending, number) == 1) return fail(EINTR, "interrupted");
  }
  return {};
}

}  // namespace layerboot
