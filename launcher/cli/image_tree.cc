#include "launcher/cli/image_tree.h"

#include <algorithm>

namespace layerboot::launcher {

namespace {

using Images = std::span<const std::vector<StoredLayer>>;

/// Of those `chosen`, all of which have the same first `depth` layers and at least one more.
std::vector<ImageTreeNode> nodes_above(Images images, const std::vector<std::size_t>& chosen,
                                       std::size_t depth) {
  std::vector<std::vector<std::size_t>> groups;
  for (const std::size_t image : chosen) {
    const auto group = std::ranges::find_if(
        groups, [&](const auto& members) { return images[members.front()][depth] == images[image][depth]; });
    if (group == groups.end()) {
      groups.push_back({image});
    } else {
      group->push_back(image);
    }
  }
  std::vector<ImageTreeNode> nodes;
  for (const auto& group : groups) {
    const auto& first = images[group.front()];
    std::size_t end = depth + 1;
    const auto go_on = [&](std::size_t image) {
      return images[image].size() > end && first.size() > end && images[image][end] == first[end];
    };
    while (std::ranges::all_of(group, go_on)) ++end;
    ImageTreeNode node;
    node.layers.assign(first.begin() + static_cast<std::ptrdiff_t>(depth),
                       first.begin() + static_cast<std::ptrdiff_t>(end));
    std::vector<std::size_t> longer;
    for (const std::size_t image : group)
      (images[image].size() == end ? node.images : longer).push_back(image);
    node.children = nodes_above(images, longer, end);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace

std::uint64_t ImageTreeNode::size_bytes() const {
  std::uint64_t sum = 0;
  for (const StoredLayer& layer : layers) sum += layer.size_bytes;
  return sum;
}

std::vector<ImageTreeNode> image_tree(Images images) {
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (!images[i].empty()) chosen.push_back(i);
  }
  return nodes_above(images, chosen, 0);
}

}  // namespace layerboot::launcher
