// `run --detach --wait`: until the guest is up.
#pragma once

#include <chrono>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Waits until the guest's agent answers and, where its init is systemd, that says that the system has
/// started; units that failed are warned of. ETIMEDOUT when `bound` is over: the VM goes on, as it does at a
/// signal, which ends this process. Another Error when it ends before. REQUIRES: the main thread.
Result<void> wait_until_up(const StateDirs& dirs, const std::string& name, std::chrono::seconds bound);

}  // namespace layerboot::launcher
