// The attributes of a file system's root directory, which mke2fs does not copy.
#pragma once

#include <filesystem>
#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Gives the root directory of the ext4 in `disk` the owner, mode, mtime and xattrs of the directory `from`,
/// by debugfs. `work` is a directory for small files. REQUIRES: the main thread, inside an InterruptScope.
Result<void> copy_root_attributes(const std::filesystem::path& from, const std::filesystem::path& disk,
                                  const std::filesystem::path& work);

}  // namespace layerboot::launcher
