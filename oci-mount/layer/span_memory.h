// SpanMemory: room for decoded spans, in huge pages where the kernel gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "oci-mount/base/mapping.h"

namespace layerboot::layer {

/// Hands out pieces of one mapping that asks for huge pages (madvise(2), MADV_HUGEPAGE), so that copying a
/// span out costs one TLB entry instead of one for each 4 KiB: a third of the time where page tables are
/// nested. Where huge pages are switched off, or the mapping fails, all works as with the heap. Thread-safe.
class SpanMemory {
 public:
  /// What the largest piece has, and a huge page.
  static constexpr std::size_t kChunkBytes = 2U << 20U;

  /// `max_bytes`, rounded up to chunks, bounds what is handed out at a time; it takes memory as it is used.
  explicit SpanMemory(std::size_t max_bytes);

  /// `size_bytes` of memory; null where no chunk has a gap for them. What take() gave is given back with the
  /// same size, before SpanMemory ends.
  std::byte* take(std::size_t size_bytes);
  void give_back(const std::byte* piece, std::size_t size_bytes);

 private:
  static constexpr std::size_t kUnitBytes = kChunkBytes / 64;

  std::mutex mutex_;
  Mapping mapping_;
  std::byte* first_chunk_ = nullptr;
  std::vector<std::uint64_t> free_units_;  // of each chunk, a bit for each unit
};

}  // namespace layerboot::layer
