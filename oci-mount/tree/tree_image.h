// TreeImage: a merged tree laid out as the tables of a tree index file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/layer_entries.h"
#include "oci-mount/tree/merge.h"
#include "oci-mount/tree/tree_format.h"

namespace layerboot::tree {

class TreeImage {
 public:
  /// Numbers what can be reached from the root breadth first and fills the tables. `layers` as given to
  /// Merge::add(), in that order; `key` as Tree::open() will expect it.
  static Result<TreeImage> lay_out(const Merge& merge, std::span<const LayerEntries* const> layers,
                                   std::string_view key);

  /// The whole file.
  [[nodiscard]] std::string serialize() const;

 private:
  using Index = MergedNode::Index;
  struct Name {
    std::uint32_t parent;
    std::uint32_t name_offset;
    std::uint16_t name_length;
  };

  TreeImage(const Merge& merge, std::span<const LayerEntries* const> layers)
      : merge_(merge), layers_(layers) {}
  Result<void> number_nodes();
  Result<void> fill_directory(std::uint32_t id, std::vector<std::uint32_t>& id_of);
  Result<void> fill_node(std::uint32_t id);
  Result<void> fill_file(NodeRecord& record, const layer::EntryView& entry, std::uint32_t layer);
  Result<void> fill_xattrs(NodeRecord& record, const layer::EntryView& entry);
  void fill_links();
  Result<std::uint32_t> put(std::string_view text);
  Result<std::uint32_t> put_once(std::string_view text);

  const Merge& merge_;
  std::span<const LayerEntries* const> layers_;
  std::vector<Index> order_;  // merged node of each id; order_[0] is id 1
  std::vector<NodeRecord> nodes_;
  std::vector<DirentRecord> dirents_;
  std::vector<ExtentRecord> extents_;
  std::vector<XattrRecord> xattrs_;
  std::vector<LinkRecord> links_;
  std::string pool_;
  std::unordered_map<std::string_view, std::uint32_t> pooled_;  // put_once(): texts live in the layers
  std::uint32_t key_length_ = 0;
  std::uint64_t key_offset_ = 0;
  std::uint64_t total_blocks_ = 0;
};

}  // namespace layerboot::tree
