#include "oci-mount/overlay/row_states.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace layerboot::overlay {

RowStates::RowStates(std::size_t count) : size_bytes_(count * sizeof(std::atomic<std::uint32_t>)) {
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
  // Zero pages are what 32-bit atomics of 0 look like.
  void* const pages = ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  states_ = static_cast<std::atomic<std::uint32_t>*>(pages);
}

RowStates::~RowStates() { ::munmap(states_, size_bytes_); }

void RowStates::add_reference(tree::NodeId row) {
  auto& state = states_[row];
  if ((state.load(std::memory_order_relaxed) & kReferences) < kReferences / 2) {
    state.fetch_add(1, std::memory_order_relaxed);
  }
}

bool RowStates::take_references(tree::NodeId row, std::uint64_t count) {
  auto& state = states_[row];
  std::uint32_t before = state.load(std::memory_order_relaxed);
  std::uint32_t after = 0;
  do {
    const std::uint64_t taken = std::min<std::uint64_t>(count, before & kReferences);
    after = before - static_cast<std::uint32_t>(taken);
  } while (!state.compare_exchange_weak(before, after, std::memory_order_relaxed));
  return before != after && after == kTouched;
}

void RowStates::clear() {
  if (::madvise(states_, size_bytes_, MADV_DONTNEED) == 0) return;
  const std::size_t count = size_bytes_ / sizeof(states_[0]);
  for (std::size_t row = 0; row < count; ++row) states_[row].store(0, std::memory_order_relaxed);
}

}  // namespace layerboot::overlay
