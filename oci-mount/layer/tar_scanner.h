// TarScanner: a tar pushed through piece by piece, its entries handed out as they end. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/sparse_map.h"
#include "oci-mount/layer/tar_entry.h"
#include "oci-mount/store/tar_extensions.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::layer {

using store::kTarBlockBytes;
using store::PaxRecords;
using store::TarBlock;

/// Holds one header block and at most two long names, one PAX header and one sparse map; file data is passed
/// over, not kept.
class TarScanner {
 public:
  using Sink = std::function<Result<void>(TarEntry)>;

  /// Each entry goes to `sink` when its header has been read; an error of the sink's ends the scan.
  explicit TarScanner(Sink sink) : sink_(std::move(sink)) {}

  /// After an error, nothing more may be pushed. What comes after the end marker is passed over.
  Result<void> push(std::span<const std::byte> bytes);
  /// At the end of the stream: EBADMSG when it ends within an entry. An end marker need not be there.
  Result<void> finish();

 private:
  enum class State { kHeader, kExtension, kSparseMap, kData, kEnded };

  Result<void> on_block();
  Result<void> on_extension_end();
  Result<void> on_entry(TarHeader header);
  Result<void> begin_sparse(SparseMap::Need need);
  Result<void> on_sparse_block();
  Result<void> emit(const TarHeader& header, const SparseMap* sparse);
  Result<void> begin_extension(const TarHeader& header);
  void skip_data(std::uint64_t size_bytes);

  Sink sink_;
  State state_ = State::kHeader;
  std::uint64_t stream_offset_ = 0;
  std::array<std::byte, kTarBlockBytes> block_{};
  std::size_t block_filled_ = 0;
  bool zero_block_seen_ = false;

  std::uint64_t data_left_ = 0;     // file data, or the rest of an extension
  std::uint64_t padding_left_ = 0;  // up to the next block

  char extension_type_ = 0;
  std::string extension_;
  store::TarExtensions extensions_;
  PaxRecords pax_;           // of the entry that is being read
  TarHeader sparse_header_;  // the sparse file whose map is being read
  SparseMap sparse_map_;
  std::uint64_t sparse_data_bytes_ = 0;  // of it, and of a map within its data
};

}  // namespace layerboot::layer
