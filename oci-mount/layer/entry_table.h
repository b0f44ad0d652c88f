// EntryTable: the entries of one layer, as its index keeps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/entry.h"
#include "oci-mount/layer/index_format.h"

namespace layerboot::layer {

/// The order of paths in a table: by parts, each as bytes, so as if '/' were less than any other byte.
[[nodiscard]] bool path_before(std::string_view a, std::string_view b);
/// The order of what has one path: a whiteout, an opaque mark, anything else.
[[nodiscard]] int sort_of(EntryType type);

/// Immutable and thread-safe. Sorted by path, part by part (path_before), so that a directory comes before
/// what is in it, and that follows at once. One path has at most a whiteout, then an opaque mark, then an
/// entry of another kind: of several of one sort the tar's last.
class EntryTable {
 public:
  /// The sizes of the table's four parts, which lie one after the other.
  struct Shape {
    std::uint64_t entry_count = 0;
    std::uint64_t extent_count = 0;
    std::uint64_t xattr_count = 0;
    std::uint64_t strings_size_bytes = 0;

    /// Of all parts; EOVERFLOW or E2BIG when it is over kMaxEntryTableBytes.
    [[nodiscard]] Result<std::size_t> size_bytes() const;
  };

  /// Takes the table's bytes and checks every offset, count and order in them, so that no later access
  /// needs a check; extents must lie within `stream_size_bytes`.
  static Result<EntryTable> parse(std::vector<std::byte> bytes, const Shape& shape,
                                  std::uint64_t stream_size_bytes);

  [[nodiscard]] std::uint32_t entry_count() const { return static_cast<std::uint32_t>(entries_.size()); }
  /// REQUIRES: i < entry_count(). The view lives as long as the table.
  [[nodiscard]] EntryView entry(std::uint32_t i) const;

 private:
  EntryTable() = default;
  [[nodiscard]] Result<void> check(std::uint64_t stream_size_bytes) const;
  [[nodiscard]] bool entry_fits(const EntryRecord& record, std::uint64_t stream_size_bytes) const;

  std::vector<std::byte> bytes_;
  std::span<const EntryRecord> entries_;
  std::span<const Extent> extents_;
  std::span<const EntryXattrRecord> xattrs_;
  std::string_view strings_;
};

}  // namespace layerboot::layer
