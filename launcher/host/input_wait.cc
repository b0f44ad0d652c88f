#include "launcher/host/input_wait.h"

#include <poll.h>

#include <algorithm>

#include "launcher/host/run_tool.h"

namespace layerboot::launcher {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Signals are blocked within an InterruptScope and end no poll(2).
constexpr milliseconds kTick{200};

}  // namespace

Result<void> wait_for_input(const UniqueFd& from, milliseconds bound) {
  const auto end = steady_clock::now() + bound;
  for (;;) {
    LB_TRY(InterruptScope::check());
    const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
    pollfd watched{.fd = from.get(), .events = POLLIN, .revents = 0};
    const int got = ::poll(&watched, 1, static_cast<int>(std::clamp(left, milliseconds(0), kTick).count()));
    if (got > 0) return {};
    if (got < 0 && errno != EINTR) return errno_error("poll");
    if (left <= milliseconds(0)) return fail(ETIMEDOUT, "no answer within ", bound.count() / 1000, " s");
  }
}

}  // namespace layerboot::launcher
