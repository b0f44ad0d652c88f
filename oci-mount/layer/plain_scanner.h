// PlainScanner: one pass over a plain tar, hashing it span by span, so that who reads it later can tell
// whether it is still what was indexed. Decoding can start anywhere, so the spans lie on a grid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

/// Used by one thread.
class PlainScanner {
 public:
  /// ENOMEM.
  static Result<PlainScanner> create();

  /// Bytes of the tar, in their order.
  Result<void> push(std::span<const std::byte> bytes);
  /// At the tar's end: sets the closing checkpoint.
  Result<void> finish();

  /// Whole after finish(); none where the tar has no byte.
  [[nodiscard]] const CheckpointTableBuilder& checkpoints() const { return table_; }

 private:
  explicit PlainScanner(StreamHash span_hash) : span_hash_(std::move(span_hash)) {}
  void close_span();

  StreamHash span_hash_;
  CheckpointTableBuilder table_;
  std::uint64_t stream_offset_ = 0;
};

}  // namespace layerboot::layer
