// `layerboot docker`, and the engine of a VM of `run --docker`.
#pragma once

#include <chrono>
#include <string>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// What DOCKER_HOST is to be for the engine of the VM `name`.
std::string docker_host(const StateDirs& dirs, const std::string& name);

/// Blocks until the engine answers through the VM's socket. ETIMEDOUT when `bound` is over, with what to look
/// at: the VM goes on. Another Error when it ends before.
Result<void> wait_for_docker(const StateDirs& dirs, const std::string& name, std::chrono::seconds bound);

/// Runs this host's docker, or the VM's where there is none here, and gives its exit code.
Result<int> use_docker(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
