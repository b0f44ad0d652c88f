#include "oci-mount/layer/span_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

namespace layerboot::layer {

namespace {

constexpr std::uint64_t kAllUnits = ~std::uint64_t{0};

std::size_t units_for(std::size_t size_bytes, std::size_t unit_bytes) {
  return (size_bytes + unit_bytes - 1) / unit_bytes;
}

std::uint64_t run_of(std::size_t units) { return kAllUnits >> (64 - units); }

/// The bits at which a run of `units` set bits begins.
std::uint64_t run_starts(std::uint64_t free, std::size_t units) {
  std::size_t known = 1;
  while (known < units && free != 0) {
    const std::size_t step = std::min(known, units - known);
    free &= free >> step;
    known += step;
  }
  return free;
}

}  // namespace

SpanMemory::SpanMemory(std::size_t max_bytes, MemoryBudget& budget) : budget_(budget) {
  const std::size_t chunks = units_for(max_bytes, kChunkBytes);
  if (chunks == 0) return;
  // One chunk more, so that chunks can begin where huge pages do.
  auto mapping = Mapping::anonymous((chunks + 1) * kChunkBytes);
  if (!mapping) return;
  mapping_ = std::move(*mapping);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(mapping_.data()) % kChunkBytes;
  first_chunk_ = mapping_.data() + (kChunkBytes - misaligned);
  chunks_.assign(chunks, Chunk{.free_units = kAllUnits});
}

SpanMemory::~SpanMemory() {
  for (const Chunk& chunk : chunks_) {
    if (chunk.taken) budget_.give_back(kChunkBytes);
  }
}

std::byte* SpanMemory::take(std::size_t size_bytes) {
  if (size_bytes == 0 || size_bytes > kChunkBytes) return nullptr;
  const std::size_t units = units_for(size_bytes, kUnitBytes);
  const std::lock_guard lock(mutex_);
  std::size_t untaken = chunks_.size();
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    Chunk& chunk = chunks_[i];
    if (!chunk.taken) {
      untaken = std::min(untaken, i);
      continue;
    }
    const std::uint64_t starts = run_starts(chunk.free_units, units);
    if (starts == 0) continue;
    const auto first = static_cast<std::size_t>(std::countr_zero(starts));
    chunk.free_units &= ~(run_of(units) << first);
    return chunk_at(i) + first * kUnitBytes;
  }
  if (untaken == chunks_.size() || !budget_.try_take(kChunkBytes)) return nullptr;
  chunks_[untaken] = {.free_units = kAllUnits & ~run_of(units), .taken = true};
  return chunk_at(untaken);
}

void SpanMemory::give_back(const std::byte* piece, std::size_t size_bytes) {
  const std::size_t units = units_for(size_bytes, kUnitBytes);
  const auto at = static_cast<std::size_t>(piece - first_chunk_);
  const std::lock_guard lock(mutex_);
  chunks_[at / kChunkBytes].free_units |= run_of(units) << (at % kChunkBytes / kUnitBytes);
}

std::size_t SpanMemory::trim() {
  std::size_t trimmed_bytes = 0;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    Chunk& chunk = chunks_[i];
    if (!chunk.taken || chunk.free_units != kAllUnits) continue;
    ::madvise(chunk_at(i), kChunkBytes, MADV_DONTNEED);
    chunk.taken = false;
    budget_.give_back(kChunkBytes);
    trimmed_bytes += kChunkBytes;
  }
  return trimmed_bytes;
}

}  // namespace layerboot::layer
