// The images of a store by the layers that they share. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "launcher/images/stored_documents.h"

namespace layerboot::launcher {

/// Layers that lie over the ones of the node above, and what is made of all of these.
struct ImageTreeNode {
  std::vector<StoredLayer> layers;  // lowest first; one or more
  std::vector<std::size_t> images;  // whose layers end here, by their places in what was given; may be none
  std::vector<ImageTreeNode> children;

  [[nodiscard]] std::uint64_t size_bytes() const;  // of `layers`
};

/// The nodes that lie on nothing. Each has an image of its own or several children. The order is that of the
/// images given, by the first one in or below a node. An image without layers is in none.
std::vector<ImageTreeNode> image_tree(std::span<const std::vector<StoredLayer>> images);

}  // namespace layerboot::launcher
