// TreeImage: a merged tree laid out as the tables of a tree index file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/tree/layer_entries.h"
#include "oci-mount/tree/merge.h"
#include "oci-mount/tree/tree_format.h"

namespace layerboot::tree {

/// Owns all that it needs: what it was laid out from may go before it is written.
class TreeImage {
 public:
  /// Numbers what can be reached from the root breadth first and fills the tables. `layers` as given to
  /// Merge::add(), in that order; `key` as Tree::open() will expect it.
  static Result<TreeImage> lay_out(const Merge& merge, std::span<const LayerEntries* const> layers,
                                   std::string_view key);

  /// The whole file, into an empty one.
  Result<void> write(FileAppender& file) const;

 private:
  class Layout;
  TreeImage() = default;

  std::vector<NodeRecord> nodes_;
  std::vector<DirentRecord> dirents_;
  std::vector<ExtentRecord> extents_;
  std::vector<XattrRecord> xattrs_;
  std::vector<LinkRecord> links_;
  std::string pool_;
  std::uint32_t key_length_ = 0;
  std::uint64_t key_offset_ = 0;
  std::uint64_t total_blocks_ = 0;
};

}  // namespace layerboot::tree
