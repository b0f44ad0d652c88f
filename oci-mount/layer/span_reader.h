// SpanReader: bytes of the layers' uncompressed streams, from the cache or from the blobs.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/base/worker_pool.h"

namespace layerboot::layer {

class Layer;      // layer.h: one blob and its index
class SpanCache;  // span_cache.h

/// A layer's place in its image: 0 is the lowest.
using LayerNumber = std::uint32_t;

/// Reads any range of any layer of one image. Thread-safe; each call works on the reactor it is given.
class SpanReader {
 public:
  /// `cache` and `workers` outlive the reader and may serve several.
  SpanReader(std::vector<std::shared_ptr<const Layer>> layers, SpanCache& cache, WorkerPool& workers);
  ~SpanReader();

  /// Fills all of `into` with the stream's bytes from `stream_offset` on, if that needs no waiting and no
  /// decoding: then true. Otherwise false, and `into` may hold part of the bytes. Does not allocate.
  bool try_read(LayerNumber layer, std::uint64_t stream_offset, std::span<const iovec> into);

  /// Fills all of `into`, or fails with EIO where the blob ends early, can't be decoded, or does not
  /// give the bytes that were indexed. `into` and its buffers live until the task ends.
  Task<Result<void>> read(Reactor& reactor, LayerNumber layer, std::uint64_t stream_offset,
                          std::span<const iovec> into);

 private:
  std::vector<std::shared_ptr<const Layer>> layers_;
  SpanCache& cache_;
  WorkerPool& workers_;
};

}  // namespace layerboot::layer
