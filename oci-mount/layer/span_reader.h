// SpanReader: bytes of the layers' uncompressed streams, from the cache or from the blobs.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/base/worker_pool.h"
#include "oci-mount/layer/span_cache.h"

namespace layerboot::layer {

class Layer;  // layer.h: one blob and its index

/// A layer's place in its image: 0 is the lowest.
using LayerNumber = std::uint32_t;

/// Reads of blobs, and how often one has been answered. Thread-safe.
class ReadsUnderWay {
 public:
  void begin() { count_.fetch_add(1, std::memory_order_relaxed); }
  void answered() { answers_.fetch_add(1, std::memory_order_relaxed); }
  void end() { count_.fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] std::optional<std::uint64_t> answers() const {
    if (count_.load(std::memory_order_relaxed) == 0) return std::nullopt;
    return answers_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<unsigned> count_ = 0;
  std::atomic<std::uint64_t> answers_ = 0;
};

/// Reads any range of any layer of one image. Thread-safe; each call works on the reactor it is given.
///
/// A plain tar is read straight into the caller's memory, once the spans that hold the bytes have been
/// checked against their hashes, each at its first use. Of a compressed layer the span that holds the bytes
/// is taken from the cache, or read, decoded on a worker, checked against its hash and kept; who reads on
/// where a read ended has the next spans prefetched, at each span that he enters, so that he waits for none
/// but the first. What is in flight is bounded by the cache's budget: a
/// read beyond that waits for its turn, and holds no memory meanwhile; nothing is prefetched then.
class SpanReader {
 public:
  /// Spans decoded ahead of a sequential reader.
  static constexpr std::uint32_t kPrefetchSpans = 2;

  /// `cache` and `workers` outlive the reader and may serve several.
  SpanReader(std::vector<std::shared_ptr<const Layer>> layers, SpanCache& cache, WorkerPool& workers);
  /// REQUIRES: no read() is under way, and every reactor that read has ended, with the prefetches left on it.
  ~SpanReader();
  SpanReader(const SpanReader&) = delete;
  SpanReader& operator=(const SpanReader&) = delete;

  /// Fills all of `into` with the stream's bytes from `stream_offset` on, if that needs no waiting and no
  /// decoding, and nothing is to be prefetched: then true. Otherwise false, and `into` may hold part of the
  /// bytes. Does not allocate.
  bool try_read(LayerNumber layer, std::uint64_t stream_offset, std::span<const iovec> into);

  /// Fills all of `into`, or fails with EIO where the blob ends early, can't be decoded, or does not
  /// give the bytes that were indexed; EINVAL outside the stream. `into` and its buffers live until the task
  /// ends.
  Task<Result<void>> read(Reactor& reactor, LayerNumber layer, std::uint64_t stream_offset,
                          std::span<const iovec> into);

  /// While somebody waits for bytes of a blob, for good where that lies on a file system that does not
  /// answer: how many reads have come to an end so far. Thread-safe.
  [[nodiscard]] std::optional<std::uint64_t> blob_answers() const { return blob_reads_.answers(); }

 private:
  struct LayerState;

  Task<Result<void>> read_plain(Reactor& reactor, LayerState& state, std::uint64_t stream_offset,
                                std::span<const iovec> into);
  Task<Result<void>> check_plain(Reactor& reactor, LayerState& state, std::uint32_t number);
  Task<Result<void>> read_blob(Reactor& reactor, LayerState& state, std::uint64_t blob_offset,
                               std::span<const iovec> into);
  Task<Result<void>> read_spans(Reactor& reactor, LayerState& state, std::uint64_t stream_offset,
                                std::span<const iovec> into);
  Task<Result<SpanPtr>> load_span(Reactor& reactor, LayerState& state, std::uint32_t span);
  /// REQUIRES: the order to make it, from the cache. `charge`: for in_flight_bytes() of it.
  Task<Result<SpanPtr>> make_span(Reactor& reactor, LayerState& state, std::uint32_t span,
                                  BytesInFlight::Charge charge);
  Task<Result<std::shared_ptr<DecodedSpan>>> decode(Reactor& reactor, LayerState& state, std::uint32_t span,
                                                    BytesInFlight::Charge charge);
  bool wants_prefetch(const LayerState& state, std::uint64_t stream_offset, std::uint32_t last_span);
  void prefetch(Reactor& reactor, LayerState& state, std::uint32_t first_span);
  void report(LayerState& state, const Error& error);

  std::vector<std::unique_ptr<LayerState>> layers_;
  SpanCache& cache_;
  WorkerPool& workers_;
  ReadsUnderWay blob_reads_;
};

}  // namespace layerboot::layer
