// The reading half of the gzip codec: one span decoded from its checkpoint. gzip_scanner.h sets the
// checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"

namespace layerboot::layer {

/// Where decoding starts.
struct GzipStart {
  std::uint64_t blob_offset = 0;  // of the first compressed byte
  unsigned first_bit = 0;         // of it
  bool member_start = false;
  const Window* window = nullptr;  // the 32 KiB before; null where nothing refers to them
};

/// Decodes from `start` until `out` is full; EIO when the data end before. Thread-safe.
Result<void> decode_gzip(const GzipStart& start, std::span<const std::byte> compressed,
                         std::span<std::byte> out);

/// Decodes one span out of its compressed bytes (span.blob_bytes of them, from span.blob_offset on) into
/// `out` (span.size_bytes) and checks its hash: an error when the blob does not give what was indexed.
/// Thread-safe.
Result<void> decode_gzip_span(const SpanInfo& span, std::span<const std::byte> compressed,
                              std::span<std::byte> out);

}  // namespace layerboot::layer
