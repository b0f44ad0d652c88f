// One span decoded, whatever the layer is compressed with.
#pragma once

#include <cstddef>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"

namespace layerboot::layer {

/// Decodes the span's compressed bytes (span.blob_bytes of them, from span.blob_offset on) into `out`
/// (span.size_bytes) and checks its hash: an error when the blob does not give what was indexed. Thread-safe.
Result<void> decode_span(const SpanInfo& span, std::span<const std::byte> compressed,
                         std::span<std::byte> out);

}  // namespace layerboot::layer
