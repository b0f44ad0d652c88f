// The duties of a container's first process.
#pragma once

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Where this process is the first one of a PID namespace it stays behind as one that reaps what others leave
/// and hands on the signals that are sent to it, and a child of it returns, whose exit status becomes its
/// own; elsewhere it only returns. The kernel keeps from a first process every signal that it has no handler
/// for, and so a stop that comes while things are prepared. REQUIRES: there is one thread, and SIGCHLD is not
/// ignored.
Result<void> leave_first_process();

}  // namespace layerboot::launcher
