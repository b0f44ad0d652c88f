// Where the data of a sparse file of a tar belong: GNU's old header, and the three PAX forms. Pure.
//
// Follows GNU tar's manual, "Storing Sparse Files", and what Go's archive/tar takes of it (reader.go). A
// map's size is bounded before it is kept (CVE-2022-2879, CVE-2025-58183, CVE-2026-32288).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/entry.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::layer {

/// Gathers one map, block by block where it needs several. After an error it is of no more use.
class SparseMap {
 public:
  /// What more of the tar the map needs.
  enum class Need { kNothing, kBlock };

  /// From a header of type 'S'.
  Result<Need> begin_gnu(store::TarBlock header);
  /// From PAX records: forms 0.0 and 0.1 are whole with them; of 1.0 the map comes as the data's first
  /// blocks.
  Result<Need> begin_pax(const store::PaxSparse& records);
  /// The next 512 bytes, when a block is needed.
  Result<Need> add_block(store::TarBlock block);

  /// Whether the blocks of add_block() count as the entry's data.
  [[nodiscard]] bool is_in_data() const { return in_data_; }
  [[nodiscard]] std::uint64_t real_size_bytes() const { return real_size_bytes_; }

  /// The whole map as extents, of `data_bytes` bytes from `stream_offset` on: EBADMSG when its pieces
  /// overlap, are out of order, leave the file, or together are not `data_bytes`.
  [[nodiscard]] Result<std::vector<Extent>> extents(std::uint64_t stream_offset,
                                                    std::uint64_t data_bytes) const;

 private:
  struct Piece {
    std::uint64_t offset;
    std::uint64_t length_bytes;
  };

  Result<bool> add_gnu_pieces(std::string_view table, std::size_t count);
  Result<void> add_piece(std::uint64_t offset, std::uint64_t length_bytes);
  Result<Need> take_lines();

  std::vector<Piece> pieces_;
  std::uint64_t real_size_bytes_ = 0;
  bool in_data_ = false;
  bool gnu_ = false;
  std::string text_;  // of form 1.0, not yet taken apart
  std::vector<std::uint64_t> numbers_;
};

}  // namespace layerboot::layer
