// What extended attributes take in ext4.
#pragma once

#include <cstdint>

#include "launcher/host/file_xattrs.h"

namespace layerboot::launcher {

/// What they take in ext4, which has one block for them beside what fits into the inode: the bytes, and how
/// many it has.
[[nodiscard]] std::uint64_t ext4_xattr_bytes(const FileXattrs& xattrs);
inline constexpr std::uint64_t kMaxExt4XattrBytes = 4096 - 32 - 4;  // the block's header, and the list's end
/// What fits into an inode of 256 bytes for sure.
inline constexpr std::uint64_t kExt4InodeXattrBytes = 64;

}  // namespace layerboot::launcher
