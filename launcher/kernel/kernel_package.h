// A kernel out of Debian's packages, by apt's own tools.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "launcher/host/architecture.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Fetches Debian's cloud kernel for such a machine and makes `into`, which must not exist, a kernel
/// directory as kernel_store.h describes. Without a `series` ("6.1") this machine's own release's is taken if
/// it is of 6.12 or later, else the one in its backports, and if that can't be had, with a message, its own.
/// Packages are verified by apt as ever. `work` is an empty directory for what comes up on the way; nothing
/// else on the machine is changed, and no privileges are needed. For another architecture than this host's
/// apt has lists, state and architecture of its own there, read from where this machine has Debian's packages
/// from, and the directory gets what an initrd needs besides. Shows progress. EINTR when interrupted.
/// REQUIRES: the main thread, inside an InterruptScope.
Result<void> fetch_debian_kernel(const std::string& series, const Architecture& architecture,
                                 const std::filesystem::path& work, const std::filesystem::path& into);

/// The second half: makes `into` out of an unpacked kernel package. Changes `tree`. Whatever reads the
/// modules is run as `user` (ToolSpec), whose they must be; 0: as we are.
Result<void> kernel_from_tree(const std::filesystem::path& tree, const std::filesystem::path& into,
                              unsigned user = 0);

}  // namespace layerboot::launcher
