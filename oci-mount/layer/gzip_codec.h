// The gzip codec: sets checkpoints while a blob streams by once, and decodes one span later on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/gzip_stream.h"

namespace layerboot::layer {

/// Where a scan puts what it decodes.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  /// Room for the next bytes, at least one; the same until take() is called.
  virtual std::span<std::byte> room() = 0;
  /// The room's first `size_bytes` bytes are filled now.
  virtual Result<void> take(std::size_t size_bytes) = 0;
};

/// One pass over a gzip blob. Used by one thread.
class GzipScanner {
 public:
  /// `sink` outlives the scanner.
  static Result<std::unique_ptr<GzipScanner>> create(StreamSink& sink);
  ~GzipScanner();

  Result<void> push(std::span<const std::byte> blob_bytes);
  /// At the blob's end: sets the closing checkpoint.
  Result<void> finish();

  [[nodiscard]] const CheckpointTableBuilder& checkpoints() const { return checkpoints_; }
  [[nodiscard]] std::uint64_t stream_size_bytes() const { return stream_offset_; }

 private:
  struct HashState;

  explicit GzipScanner(StreamSink& sink);
  Result<void> take_output(std::span<const std::byte> bytes);
  Result<void> at_boundary();
  Result<void> set_checkpoint(const GzipStream::Boundary& boundary, std::span<const std::byte> packed_window);

  StreamSink& sink_;
  std::unique_ptr<GzipStream> stream_;
  std::unique_ptr<HashState> span_hash_;
  CheckpointTableBuilder checkpoints_;
  std::uint64_t stream_offset_ = 0;
  std::uint64_t last_checkpoint_ = 0;
  bool trailing_ = false;
};

/// The hash that the index keeps of each span's bytes.
[[nodiscard]] std::uint64_t span_hash(std::span<const std::byte> bytes);

/// Decodes one span out of its compressed bytes (span.blob_bytes of them, from span.blob_offset on) into `out`
/// (span.size_bytes) and checks its hash. EIO when the blob does not give what was indexed. Thread-safe.
Result<void> decode_gzip_span(const SpanInfo& span, std::span<const std::byte> compressed, std::span<std::byte> out);

}  // namespace layerboot::layer
