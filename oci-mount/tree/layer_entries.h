// LayerEntries: what the tree builder needs to know of one layer.
#pragma once

#include <cstdint>
#include <string_view>

#include "oci-mount/layer/entry.h"

namespace layerboot::tree {

/// A layer's entries, each path at most once as a thing and once as a mark (kWhiteout, kOpaque), a parent
/// before its children. The views that entry() gives live as long as this object. Used by one thread.
class LayerEntries {
 public:
  virtual ~LayerEntries() = default;

  [[nodiscard]] virtual std::uint32_t entry_count() const = 0;
  /// REQUIRES: index < entry_count().
  [[nodiscard]] virtual layer::EntryView entry(std::uint32_t index) const = 0;
  /// What messages call the layer.
  [[nodiscard]] virtual std::string_view identity() const = 0;
};

}  // namespace layerboot::tree
