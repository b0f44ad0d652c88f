// ZstdScanner: one pass over a zstd blob, setting checkpoints where frames begin.
//
// Follows RFC 8878. Layers of many frames (zstd:chunked, the seekable format, pzstd) are read at random as
// they are. Within a frame decoding can't start, so a layer with larger frames than kMaxZstdFrameBytes is
// recut: what it decodes to is compressed again, in frames of kSpanTargetBytes, into a file beside its index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/gzip_scanner.h"
#include "oci-mount/layer/recut_writer.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

/// Used by one thread.
class ZstdScanner {
 public:
  /// `sink` outlives the scanner, and so does `recut`, the file that the layer is recut into; null: it is
  /// not.
  static Result<std::unique_ptr<ZstdScanner>> create(StreamSink& sink, FileAppender* recut);
  ~ZstdScanner();

  /// EFBIG where the layer needs to be recut and `recut` is null.
  Result<void> push(std::span<const std::byte> blob_bytes);
  /// At the blob's end: sets the closing checkpoint.
  Result<void> finish();

  /// Whole after finish(). Offsets are into the recut file where there is one.
  [[nodiscard]] const CheckpointTableBuilder& checkpoints() const {
    return recut_ ? recut_->checkpoints() : table_;
  }

 private:
  struct Contexts;

  ZstdScanner(StreamSink& sink, StreamHash span_hash);
  Result<void> take_output(std::span<const std::byte> bytes);
  void close_span();
  Result<void> begin_span(std::uint64_t offset);

  StreamSink& sink_;
  std::unique_ptr<RecutWriter> recut_;  // or null
  std::unique_ptr<Contexts> contexts_;
  StreamHash span_hash_;
  CheckpointTableBuilder table_;
  std::uint64_t blob_offset_ = 0;   // of the next input byte
  std::uint64_t frame_offset_ = 0;  // in the blob, of the frame begun last
  std::uint64_t frame_stream_ = 0;  // in the stream, of its first byte
  std::uint64_t span_stream_ = 0;   // in the stream, of the last checkpoint
  std::uint64_t data_end_ = 0;      // in the blob, behind the last frame that gave anything
  std::uint64_t stream_offset_ = 0;
  bool in_frame_ = false;
  bool span_open_ = false;
};

/// Decodes one span (see decode_gzip_span) that begins with a zstd frame. Thread-safe.
Result<void> decode_zstd_span(const SpanInfo& span, std::span<const std::byte> compressed,
                              std::span<std::byte> out);

}  // namespace layerboot::layer
