// Checks every id, offset and order of a tree index file, so that reading it needs no checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/tree_format.h"

namespace layerboot::tree {

/// The tables of a file, found to lie where the header says.
struct TreeTables {
  std::span<const NodeRecord> nodes;
  std::span<const DirentRecord> dirents;
  std::span<const ExtentRecord> extents;
  std::span<const XattrRecord> xattrs;
  std::span<const LinkRecord> links;
  std::string_view pool;
  std::uint64_t total_blocks = 0;
  std::uint32_t layer_count = 0;  // one more than the highest layer that an extent names
};

/// Never trusts a byte of `file`, which must be aligned to 8. The error says what is wrong; ESTALE where
/// the file is of another format version or another key. Views into `file`.
Result<TreeTables> check_tree_file(std::span<const std::byte> file, std::string_view expected_key);

}  // namespace layerboot::tree
