// How large a disk must be for a tree.
#pragma once

#include <cstdint>
#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// What a file system has to hold.
struct TreeSize {
  /// Contents, in whole blocks, without holes; directories, long symlinks and xattrs too.
  std::uint64_t data_bytes = 0;
  std::uint64_t inodes = 0;  // a file with several names counts once
};

/// Walks the tree at `root`, symlinks not followed, on one file system. ENOTSUP, with the file's name, for
/// what no ext4 can hold: a file of more than 65,000 names, of 16 TiB, with xattrs of more than a block, or
/// in the place of /lost+found.
Result<TreeSize> measure_tree(const std::filesystem::path& root);

/// The smallest disk an ext4 of the tree fits on, with room for its own tables and journal.
[[nodiscard]] std::uint64_t smallest_disk_bytes(const TreeSize& size);

/// How many inodes an ext4 of `disk_bytes` gets: mke2fs's usual number, and half as many again as the tree
/// needs at least.
[[nodiscard]] std::uint64_t inodes_for(const TreeSize& size, std::uint64_t disk_bytes);

}  // namespace layerboot::launcher
