// Between two runs of a VM that is started again.
#pragma once

#include <chrono>
#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Waits for `pause`, reachable at the VM's control socket as its supervisor is: status says "restarting",
/// stop and kill end the wait, as do SIGINT, SIGTERM, SIGHUP and SIGQUIT. True: nobody asked for the end. On
/// the main thread.
Result<bool> pause_before_restart(const std::filesystem::path& control_socket,
                                  std::chrono::milliseconds pause);

}  // namespace layerboot::launcher
