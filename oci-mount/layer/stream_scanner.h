// StreamScanner: one pass over a blob that is compressed with xz or bzip2, as some docker archives' layers
// are. Nothing in it can be decoded by itself, so it is recut (recut_writer.h).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/gzip_scanner.h"
#include "oci-mount/layer/recut_writer.h"
#include "oci-mount/store/stream_decoder.h"

namespace layerboot::layer {

/// Used by one thread.
class StreamScanner {
 public:
  /// `sink` and `recut` outlive the scanner.
  static Result<std::unique_ptr<StreamScanner>> create(store::Compression compression, StreamSink& sink,
                                                       FileAppender& recut);

  Result<void> push(std::span<const std::byte> blob_bytes);
  /// At the blob's end.
  Result<void> finish();

  /// Whole after finish().
  [[nodiscard]] const CheckpointTableBuilder& checkpoints() const { return recut_->checkpoints(); }

 private:
  StreamScanner(StreamSink& sink, std::unique_ptr<store::StreamDecoder> decoder,
                std::unique_ptr<RecutWriter> recut)
      : sink_(sink), decoder_(std::move(decoder)), recut_(std::move(recut)) {}

  StreamSink& sink_;
  std::unique_ptr<store::StreamDecoder> decoder_;
  std::unique_ptr<RecutWriter> recut_;
};

}  // namespace layerboot::layer
