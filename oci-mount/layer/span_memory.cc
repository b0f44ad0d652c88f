#include "oci-mount/layer/span_memory.h"

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

SpanMemory::SpanMemory(std::size_t max_bytes) {
  const std::size_t chunks = units_for(max_bytes, kChunkBytes);
  if (chunks == 0) return;
  // One chunk more, so that chunks can begin where huge pages do.
  auto mapping = Mapping::anonymous((chunks + 1) * kChunkBytes);
  if (!mapping) return;
  mapping_ = std::move(*mapping);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(mapping_.data()) % kChunkBytes;
  first_chunk_ = mapping_.data() + (kChunkBytes - misaligned);
  free_units_.assign(chunks, kAllUnits);
}

std::byte* SpanMemory::take(std::size_t size_bytes) {
  if (size_bytes == 0 || size_bytes > kChunkBytes) return nullptr;
  const std::size_t units = units_for(size_bytes, kUnitBytes);
  const std::lock_guard lock(mutex_);
  for (std::size_t chunk = 0; chunk < free_units_.size(); ++chunk) {
    const std::uint64_t starts = run_starts(free_units_[chunk], units);
    if (starts == 0) continue;
    const auto first = static_cast<std::size_t>(std::countr_zero(starts));
    free_units_[chunk] &= ~(run_of(units) << first);
    return first_chunk_ + chunk * kChunkBytes + first * kUnitBytes;
  }
  return nullptr;
}

void SpanMemory::give_back(const std::byte* piece, std::size_t size_bytes) {
  const std::size_t units = units_for(size_bytes, kUnitBytes);
  const auto at = static_cast<std::size_t>(piece - first_chunk_);
  const std::lock_guard lock(mutex_);
  free_units_[at / kChunkBytes] |= run_of(units) << (at % kChunkBytes / kUnitBytes);
}

}  // namespace layerboot::layer
