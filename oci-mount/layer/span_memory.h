// SpanMemory: room for decoded spans, in huge pages where the kernel gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "oci-mount/base/mapping.h"
#include "oci-mount/base/memory_budget.h"

namespace layerboot::layer {

/// Hands out pieces of one mapping that asks for huge pages (madvise(2), MADV_HUGEPAGE), so that copying a
/// span out costs one TLB entry instead of one for each 4 KiB: a third of the time where page tables are
/// nested. Where huge pages are switched off, or the mapping fails, all works as with the heap. Thread-safe.
class SpanMemory {
 public:
  /// What the largest piece has, and a huge page.
  static constexpr std::size_t kChunkBytes = 2U << 20U;

  /// `max_bytes`, rounded up to chunks, bounds what is handed out at a time. A chunk is taken from `budget`
  /// when it is first used, and given back by trim() or at the end. `budget` outlives this.
  SpanMemory(std::size_t max_bytes, MemoryBudget& budget);
  ~SpanMemory();
  SpanMemory(const SpanMemory&) = delete;
  SpanMemory& operator=(const SpanMemory&) = delete;

  /// `size_bytes` of memory; null where no chunk has a gap for them and the budget no room for another. What
  /// take() gave is given back with the same size, before SpanMemory ends.
  std::byte* take(std::size_t size_bytes);
  void give_back(const std::byte* piece, std::size_t size_bytes);
  /// Gives chunks of which nothing is handed out back to the host and the budget; how many bytes those were.
  std::size_t trim();

 private:
  static constexpr std::size_t kUnitBytes = kChunkBytes / 64;

  struct Chunk {
    std::uint64_t free_units;  // a bit for each
    bool taken = false;        // from the budget
  };
  [[nodiscard]] std::byte* chunk_at(std::size_t chunk) const { return first_chunk_ + chunk * kChunkBytes; }

  MemoryBudget& budget_;
  std::mutex mutex_;
  Mapping mapping_;
  std::byte* first_chunk_ = nullptr;
  std::vector<Chunk> chunks_;
};

}  // namespace layerboot::layer
