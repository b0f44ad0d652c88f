// pidfd_open(2).
#pragma once

#include <sys/types.h>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Readable when the process has ended; close-on-exec. ESRCH where there is no such process.
Result<UniqueFd> open_pidfd(pid_t pid);

}  // namespace layerboot::launcher
