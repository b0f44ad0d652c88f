#include "oci-mount/base/memory_budget.h"

#include <algorithm>

namespace layerboot {

namespace {

/// Asked of caches at a time: who creates a million objects shall not ask a million times.
constexpr std::uint64_t kLetGoBytes = 1U << 20U;

std::uint64_t for_spans(std::uint64_t largest_span_bytes) {
  return std::max(largest_span_bytes, MemoryBudget::kSpansBytes);
}

std::uint64_t not_kept(std::uint64_t largest_span_bytes) {
  return MemoryBudget::kProgramBytes + for_spans(largest_span_bytes) + MemoryBudget::kCopiesBytes +
         MemoryBudget::kRangesBytes;
}

}  // namespace

Result<void> MemoryBudget::check(std::uint64_t limit_bytes, std::uint64_t largest_span_bytes) {
  const std::uint64_t least = not_kept(largest_span_bytes) + kLeastKeptBytes;
  if (limit_bytes >= least) return {};
  constexpr std::uint64_t kMebibyte = 1U << 20U;
  return fail(EINVAL, "a memory limit of ", limit_bytes, " bytes is too little: give at least ",
              (least + kMebibyte - 1) / kMebibyte, "M");
}

MemoryBudget::MemoryBudget(std::uint64_t limit_bytes, std::uint64_t largest_span_bytes)
    : limit_bytes_(limit_bytes),
      spans_(for_spans(largest_span_bytes), meter_),
      copies_(kCopiesBytes, meter_),
      ranges_(kRangesBytes, meter_),
      kept_limit_bytes_(limit_bytes - std::min(limit_bytes, not_kept(largest_span_bytes))) {
  meter_.add(kProgramBytes);
}

void MemoryBudget::add(Cache& cache) {
  const std::lock_guard lock(caches_mutex_);
  caches_.push_back(&cache);
}

void MemoryBudget::remove(Cache& cache) {
  const std::lock_guard lock(caches_mutex_);
  std::erase(caches_, &cache);
}

bool MemoryBudget::try_take(std::uint64_t bytes) {
  auto kept = kept_bytes_.load(std::memory_order_relaxed);
  do {
    if (kept > kept_limit_bytes_ || bytes > kept_limit_bytes_ - kept) return false;
  } while (!kept_bytes_.compare_exchange_weak(kept, kept + bytes, std::memory_order_acquire,
                                              std::memory_order_relaxed));
  meter_.add(bytes);
  return true;
}

bool MemoryBudget::take(std::uint64_t bytes) {
  if (try_take(bytes)) return true;
  {
    const std::lock_guard lock(caches_mutex_);
    for (Cache* const cache : caches_) cache->let_go(std::max(bytes, kLetGoBytes));
  }
  return try_take(bytes);
}

void MemoryBudget::take_anyway(std::uint64_t bytes) {
  kept_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  meter_.add(bytes);
}

void MemoryBudget::give_back(std::uint64_t bytes) {
  // Taken in the other order: the meter never shows more than there is.
  meter_.subtract(bytes);
  kept_bytes_.fetch_sub(bytes, std::memory_order_release);
}

}  // namespace layerboot
