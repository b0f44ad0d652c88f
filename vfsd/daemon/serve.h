// From the options to a daemon behind its walls.
#pragma once

#include <chrono>
#include <functional>

#include "oci-mount/base/result.h"
#include "vfsd/daemon/options.h"
#include "vfsd/daemon/server.h"

namespace layerboot::vfsd {

/// What is done when all walls are up and who waits has been told, on the main thread. Other than serving
/// only in tests, which try to get out from where the daemon is.
using Work = std::function<void(Server&)>;

/// Makes the sockets, enters the sandbox, opens the image or the directory, starts all threads, shuts the
/// sandbox and the filter, tells --ready-fd, does `work`, and ends in order: what the guest has written is on
/// the disk then, or the error says why not. For a process that has no other thread yet; call once.
Result<void> serve(const Options& options, std::chrono::steady_clock::time_point began,
                   const Work& work = &Server::run);

}  // namespace layerboot::vfsd
