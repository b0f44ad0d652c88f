// The lower tree in the vocabulary of file operations: attributes, and the data of files.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/task.h"
#include "oci-mount/layer/span_reader.h"
#include "oci-mount/overlay/types.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// What the image holds: one tree and the layers its data lies in. Thread-safe, as its parts are; both
/// outlive it.
struct Lower {
  const tree::Tree& tree;
  layer::SpanReader& reader;
  /// How many layers from the lowest on are the same for good, as the image's identity says. Those above, and
  /// the files of a directory, may be others the next time.
  static constexpr std::uint32_t kAllLayers = UINT32_MAX;
  std::uint32_t fixed_layers = kAllLayers;

  /// REQUIRES here and below: tree.contains(id).
  [[nodiscard]] Attr attr(tree::NodeId id) const;

  /// Whether the file's data lies in a layer that may be another one the next time. An empty file's does not.
  [[nodiscard]] bool may_change(tree::NodeId id) const;

  /// Whether any object may be another one, or gone, the next time.
  [[nodiscard]] bool may_change() const { return fixed_layers != kAllLayers; }
  /// Whether the object's name may be that of another one the next time. Of what has no data nobody knows in
  /// which layer it is.
  [[nodiscard]] bool may_become_another(tree::NodeId id) const {
    return tree.extents(id).empty() ? may_change() : may_change(id);
  }

  /// Bytes of a regular file from `offset` on, when no waiting is needed: their count, short only at the end
  /// of the file, or kWouldWait. Does not allocate in the steady state.
  static constexpr std::int64_t kWouldWait = -1;
  [[nodiscard]] Result<std::int64_t> try_read(tree::NodeId id, std::uint64_t offset,
                                              std::span<const iovec> into) const;
  /// The same, waiting. `into` lives until the task ends.
  [[nodiscard]] Task<Result<std::size_t>> read(Reactor& reactor, tree::NodeId id, std::uint64_t offset,
                                               std::span<const iovec> into) const;
  /// Whether the guest sees that attribute of a node: not what is of no namespace served, nor an ACL that is
  /// none.
  [[nodiscard]] bool serves_xattr(tree::NodeId id, std::string_view name) const;
  /// ENODATA where there is none.
  [[nodiscard]] Result<std::string> getxattr(tree::NodeId id, std::string_view name) const;
  /// Names, each followed by a NUL.
  [[nodiscard]] std::string listxattr(tree::NodeId id) const;
  /// FileSystem::attributed_paths(). Looks at each row of the tree.
  [[nodiscard]] Result<std::string> attributed_paths(std::size_t most_bytes) const;
  /// lseek(2)'s SEEK_DATA and SEEK_HOLE.
  [[nodiscard]] Result<std::uint64_t> seek(tree::NodeId id, std::uint64_t offset, int whence) const;
};

}  // namespace layerboot::overlay
