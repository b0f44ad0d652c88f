// From layers to a Tree: takes the tree index kept for them, or builds it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/layer_entries.h"
#include "oci-mount/tree/tree.h"
#include "oci-mount/tree/tree_image.h"

namespace layerboot::layer {
class Layer;
}

namespace layerboot::tree {

/// Where the tree index of `key` lies in `index_dir`.
std::filesystem::path tree_path(const std::filesystem::path& index_dir, std::string_view key);

/// The key that a tree index was written for; only as much of the file is read and checked. For who cleans
/// up.
Result<std::string> read_tree_key(const std::filesystem::path& path);

/// A tree index: `layers`, lowest first, merged. `key` says what the tree is made of. Errors name
/// the layer and the path at fault.
Result<TreeImage> build_tree(std::span<const LayerEntries* const> layers, std::string_view key);

/// Opens the tree index of `key` in `index_dir`, which must exist. One that is missing, torn or of an older
/// version is replaced, whole or not at all, by what `build` gives. Several may do so at once.
Result<std::unique_ptr<const Tree>> open_or_build_tree(std::string_view key,
                                                       const std::filesystem::path& index_dir,
                                                       const std::function<Result<TreeImage>()>& build);

/// The tree of these layers, lowest first: reads their entries only if the tree has to be built.
Result<std::unique_ptr<const Tree>> open_tree(std::span<const std::shared_ptr<const layer::Layer>> layers,
                                              const std::filesystem::path& index_dir);

}  // namespace layerboot::tree
