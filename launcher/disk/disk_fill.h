// Puts a directory's whole tree onto a new ext4.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Fills `disk`, on which mkfs.ext4 has just made a file system that is large enough, with what is below
/// `tree`, on one file system: names, hard links, contents with their holes, symlinks, devices, owners,
/// modes, times and xattrs. The root's /lost+found stays. `on_progress` gets the bytes of content so far.
/// EINTR when interrupted. REQUIRES: measure_tree() had nothing against the tree; inside an InterruptScope.
Result<void> fill_disk(const std::filesystem::path& tree, const std::filesystem::path& disk,
                       const std::function<void(std::uint64_t)>& on_progress);

}  // namespace layerboot::launcher
