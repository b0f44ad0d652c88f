#include "oci-mount/layer/span_codec.h"

#include "oci-mount/layer/gzip_codec.h"
#include "oci-mount/layer/zstd_scanner.h"

namespace layerboot::layer {

Result<void> decode_span(const SpanInfo& span, std::span<const std::byte> compressed,
                         std::span<std::byte> out) {
  return span.zstd_frame ? decode_zstd_span(span, compressed, out) : decode_gzip_span(span, compressed, out);
}

}  // namespace layerboot::layer
