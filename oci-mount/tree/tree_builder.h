// From layers to a Tree: takes the tree index kept for them, or builds it.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/layer_entries.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::tree {

/// What a tree of these layers is made of, as text: the identity of each, lowest first. (The format version, which
/// stands for the merge rules too, has its own place in the file.)
std::string tree_key(std::span<const LayerEntries* const> layers);

/// Where the tree index of `key` lies in `index_dir`.
std::filesystem::path tree_path(const std::filesystem::path& index_dir, std::string_view key);

/// The file of a tree index: `layers`, lowest first, merged. Errors name the layer and the path at fault.
Result<std::string> build_tree(std::span<const LayerEntries* const> layers, std::string_view key);

/// Opens the tree index of `layers` (lowest first) in `index_dir`, which must exist. One that is missing, torn or
/// of an older version is built and put in its place, whole or not at all. Several may do so at once.
Result<std::unique_ptr<const Tree>> open_or_build_tree(std::span<const LayerEntries* const> layers,
                                                       const std::filesystem::path& index_dir);

}  // namespace layerboot::tree
