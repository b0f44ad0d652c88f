#include "oci-mount/layer/gzip_codec.h"

#include <memory>

#include "oci-mount/layer/fast_inflate.h"
#include "oci-mount/layer/gzip_stream.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

Result<void> decode_gzip(const GzipStart& start, std::span<const std::byte> compressed,
                         std::span<std::byte> out) {
  // One decoder a thread: its 150 KiB are made once.
  thread_local const auto stream = std::make_unique<GzipStream>();
  if (start.member_start) {
    stream->start_at_member(start.blob_offset);
  } else {
    stream->start_at_block(start.blob_offset, start.first_bit, start.window);
  }
  while (!out.empty()) {
    LB_ASSIGN(const auto step, stream->step(compressed, out));
    compressed = compressed.subspan(step.consumed);
    out = out.subspan(step.produced);
    if (step.stop != GzipStream::Stop::kBoundary)
      break;  // no more input, no more room, or behind the last member
  }
  if (!out.empty()) return fail(EIO, "the compressed data from byte ", start.blob_offset, " on end early");
  return {};
}

Result<void> decode_gzip_span(const SpanInfo& span, std::span<const std::byte> compressed,
                              std::span<std::byte> out) {
  GzipStart start{span.blob_offset, span.first_bit, span.member_start, nullptr};
  Window window;
  if (!span.packed_window.empty()) {
    LB_TRY(unpack_window(span.packed_window, window));
    start.window = &window;
  }
  if (fast_decode_gzip(start, compressed, out) && span_hash(out) == span.hash) return {};
  LB_TRY(decode_gzip(start, compressed, out));
  return check_span(span, out);
}

}  // namespace layerboot::layer
