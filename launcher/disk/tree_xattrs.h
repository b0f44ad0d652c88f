// The extended attributes of what lies in a tree.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Names with their values, of a symlink its own; none where the file system has none.
Result<std::vector<std::pair<std::string, std::string>>> read_xattrs(const std::filesystem::path& path);

/// What they take in ext4, which has one block for them beside what fits into the inode: the bytes, and how
/// many it has.
[[nodiscard]] std::uint64_t ext4_xattr_bytes(const std::vector<std::pair<std::string, std::string>>& xattrs);
inline constexpr std::uint64_t kMaxExt4XattrBytes = 4096 - 32 - 4;  // the block's header, and the list's end
/// What fits into an inode of 256 bytes for sure.
inline constexpr std::uint64_t kExt4InodeXattrBytes = 64;

}  // namespace layerboot::launcher
