// GzipScanner: one pass over a gzip blob, setting checkpoints on the way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/gzip_stream.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/side_thread.h"
#include "oci-mount/layer/stream_hash.h"
#include "oci-mount/layer/window_use.h"

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

/// Used by one thread, with `side` for packing windows.
class GzipScanner {
 public:
  /// `sink` and `side` outlive the scanner; before it goes, `side` is drained. Checkpoints are at least
  /// `span_target_bytes` of the stream apart. `scratch`: see CheckpointTableBuilder.
  static Result<std::unique_ptr<GzipScanner>> create(StreamSink& sink, SideThread& side,
                                                     std::uint64_t span_target_bytes = kSpanTargetBytes,
                                                     FileAppender* scratch = nullptr);
  ~GzipScanner();

  Result<void> push(std::span<const std::byte> blob_bytes);
  /// At the blob's end: sets the closing checkpoint, and drains the side thread.
  Result<void> finish();

  /// Whole after finish().
  [[nodiscard]] const CheckpointTableBuilder& checkpoints() const { return table_; }
  [[nodiscard]] std::uint64_t stream_size_bytes() const { return stream_offset_; }

 private:
  struct Checkpoint {
    Checkpoint(std::uint64_t offset, GzipStream::Boundary at) : stream_offset(offset), boundary(at) {}

    std::uint64_t stream_offset;
    GzipStream::Boundary boundary;
    std::uint64_t span_hash = 0;
    Result<std::vector<std::byte>> packed_window;  // the side thread's while it is being packed
    std::atomic<bool> is_being_packed{false};
  };

  GzipScanner(StreamSink& sink, SideThread& side, std::uint64_t span_target_bytes, FileAppender* scratch,
              StreamHash span_hash);
  Result<void> take_output(std::span<const std::byte> bytes);
  Result<void> at_boundary();
  Result<void> settle_front();
  void close_span();
  void pack_window_of_last();

  StreamSink& sink_;
  SideThread& side_;
  std::uint64_t span_target_bytes_;
  GzipStream stream_;
  StreamHash span_hash_;
  std::deque<Checkpoint> checkpoints_;  // not in the table yet; a deque, as jobs hold on to its elements
  CheckpointTableBuilder table_;
  std::shared_ptr<WindowUse> window_;  // of the last checkpoint, while its span is open
  std::uint64_t stream_offset_ = 0;
  bool trailing_ = false;
};

}  // namespace layerboot::layer
