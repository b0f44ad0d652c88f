// Builds a tree from layers and opens it, in memory.
#pragma once

#include <sys/mman.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/tree/tree.h"
#include "oci-mount/tree/tree_builder.h"
#include "tests/oci-mount/tree/fake_layer.h"

namespace layerboot::tree {

inline Result<std::unique_ptr<const Tree>> open_bytes(std::string_view file, std::string_view key) {
  const UniqueFd fd(::memfd_create("tree", MFD_CLOEXEC));
  if (!fd) return errno_error("memfd_create");
  LB_TRY(write_all(fd.get(), as_bytes(file), 0));
  return Tree::open(fd.get(), key);
}

inline std::vector<const LayerEntries*> pointers(std::span<const std::unique_ptr<FakeLayer>> layers) {
  std::vector<const LayerEntries*> list;
  for (const auto& layer : layers) list.push_back(layer.get());
  return list;
}

/// A key for a tree of these, as layer::layers_key() makes one of real layers.
inline std::string tree_key(std::span<const LayerEntries* const> layers) {
  std::string key;
  for (const LayerEntries* layer : layers) key += str_cat(layer->identity(), "\n");
  return key;
}

/// What build_tree() makes of these, as a file's bytes.
inline Result<std::string> tree_file(std::span<const LayerEntries* const> layers, std::string_view key) {
  LB_ASSIGN(const TreeImage image, build_tree(layers, key));
  const UniqueFd fd(::memfd_create("tree", MFD_CLOEXEC));
  if (!fd) return errno_error("memfd_create");
  FileAppender file(fd.get(), "the tree");
  LB_TRY(image.write(file));
  std::string bytes(static_cast<std::size_t>(file.size_bytes()), '\0');
  LB_TRY(file.read_back(0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

inline Result<std::unique_ptr<const Tree>> build_and_open(std::span<const LayerEntries* const> layers) {
  const std::string key = tree_key(layers);
  LB_ASSIGN(const std::string file, tree_file(layers, key));
  return open_bytes(file, key);
}

/// The node at `path` ("a/b"; "" is the root), following no symlinks.
inline NodeId node_at(const Tree& tree, std::string_view path) {
  NodeId at = kRoot;
  while (!path.empty() && at != kNoNode) {
    const std::size_t slash = path.find('/');
    at = tree.lookup(at, path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return at;
}

}  // namespace layerboot::tree
