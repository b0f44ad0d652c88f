// What a directory tree takes on the disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct DiskUsage {
  std::uint64_t size_bytes = 0;  // of blocks, hard links once
  std::uint64_t inodes = 0;      // without the top directory
  bool complete = true;          // false: something could not be looked at
};

/// Looks at the tree below `directory` while others may change it; nothing for one that is not there. Never
/// follows a link, nor leaves the file system.
Result<DiskUsage> disk_usage(const std::filesystem::path& directory);

/// What a file takes on the disk: not its holes. ENOENT when it is not there.
Result<std::uint64_t> allocated_bytes(const std::filesystem::path& file);

}  // namespace layerboot::launcher
