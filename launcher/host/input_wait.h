// Waiting for what another program says, so that Ctrl-C ends it in order.
#pragma once

#include <chrono>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Until `from` can be read, or has ended. ETIMEDOUT after `bound`; EINTR once InterruptScope::check() says
/// so.
Result<void> wait_for_input(const UniqueFd& from, std::chrono::milliseconds bound);

}  // namespace layerboot::launcher
