// MergeTest: layers written down by hand, and the tree that they give.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::tree {

class MergeTest : public testing::Test {
 protected:
  FakeLayer& layer() {
    layers_.push_back(std::make_unique<FakeLayer>(str_cat("layer-", layers_.size())));
    return *layers_.back();
  }
  const Tree& merged() {
    auto built = build_and_open(pointers(layers_));
    EXPECT_TRUE(built) << built.error().describe();
    tree_ = std::move(built).value();
    return *tree_;
  }
  std::string refused() {
    const auto built = build_and_open(pointers(layers_));
    EXPECT_FALSE(built);
    return built ? "" : built.error().describe();
  }
  [[nodiscard]] bool has(std::string_view path) const { return node_at(*tree_, path) != kNoNode; }
  [[nodiscard]] const NodeRecord& at(std::string_view path) const {
    const NodeId id = node_at(*tree_, path);
    EXPECT_NE(id, kNoNode) << path;
    return tree_->node(id == kNoNode ? kRoot : id);
  }

  std::vector<std::unique_ptr<FakeLayer>> layers_;
  std::unique_ptr<const Tree> tree_;
};

}  // namespace layerboot::tree
