// SpanCompressor: a layer compressed so that it can be read at any place, and by every reader.
//
// The stream is cut into pieces of kSpanTargetBytes, each of which is compressed by itself: as gzip, deflate
// blocks that end in a full flush (RFC 1951, zlib's Z_FULL_FLUSH), all in one member; as zstd, a frame each.
// So a checkpoint between two of them needs no window (FORMAT.md), and several are compressed at a time. What
// comes out depends on the stream, and not on how many threads there are.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/worker_pool.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::layer {

/// Who makes gzip.
enum class GzipCoder : std::uint8_t {
  kFast,  // ISA-L: a tenth of the time, a tenth more bytes, and others on another kind of processor
  kSame,  // zlib: the same bytes on every machine
};

/// Used by one thread.
class SpanCompressor {
 public:
  /// Gets the compressed bytes in their order, on the thread that calls push() and finish().
  using Put = std::function<Result<void>(std::span<const std::byte>)>;

  /// `workers`, of `worker_count` threads, compress; they outlive it. REQUIRES: `compression` is kGzip or
  /// kZstd.
  SpanCompressor(store::Compression compression, WorkerPool& workers, unsigned worker_count, Put put,
                 GzipCoder coder = GzipCoder::kFast);
  /// Waits for what is being compressed.
  ~SpanCompressor();
  SpanCompressor(const SpanCompressor&) = delete;
  SpanCompressor& operator=(const SpanCompressor&) = delete;

  Result<void> push(std::span<const std::byte> bytes);
  /// The stream's end. Call once, last.
  Result<void> finish();

 private:
  struct Piece;
  struct Context;

  /// Pieces of 256 KiB that are being compressed, or wait for one before them, for each worker.
  static constexpr std::size_t kPiecesPerWorker = 3;

  Result<void> begin();
  void submit(bool is_last);
  void compress(Piece& piece);
  std::unique_ptr<Context> take_context();
  Result<void> write_first();

  const store::Compression compression_;
  const GzipCoder coder_;
  WorkerPool& workers_;
  const std::size_t max_pieces_;
  const Put put_;
  std::unique_ptr<Piece> filling_;
  std::deque<std::unique_ptr<Piece>> pieces_;  // at work, in their order
  std::uint32_t crc_ = 0;
  std::uint64_t stream_bytes_ = 0;
  bool begun_ = false;

  std::mutex mutex_;
  std::condition_variable done_;
  // Under mutex_, as is Piece::done.
  std::vector<std::unique_ptr<Context>> contexts_;
};

}  // namespace layerboot::layer
