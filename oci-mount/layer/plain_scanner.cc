#include "oci-mount/layer/plain_scanner.h"

#include <algorithm>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

Result<PlainScanner> PlainScanner::create() {
  LB_ASSIGN(StreamHash span_hash, StreamHash::create());
  return PlainScanner(std::move(span_hash));
}

Result<void> PlainScanner::push(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t in_span = stream_offset_ % kPlainSpanBytes;
    if (in_span == 0) {
      close_span();
      LB_TRY(table_.add_plain(stream_offset_));
    }
    const auto next = bytes.first(std::min<std::uint64_t>(bytes.size(), kPlainSpanBytes - in_span));
    span_hash_.update(next);
    stream_offset_ += next.size();
    bytes = bytes.subspan(next.size());
  }
  return {};
}

Result<void> PlainScanner::finish() {
  if (stream_offset_ == 0) return {};
  close_span();
  return table_.add_plain(stream_offset_);
}

void PlainScanner::close_span() {
  if (stream_offset_ != 0) table_.set_span_hash(span_hash_.digest());
  span_hash_.reset();
}

}  // namespace layerboot::layer
