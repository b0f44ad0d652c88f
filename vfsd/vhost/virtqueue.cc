#include "vfsd/vhost/virtqueue.h"

#include <atomic>
#include <bit>

#include "vfsd/vhost/ring_layout.h"

namespace layerboot::vfsd::vhost {

namespace {

std::atomic_ref<std::uint16_t> shared_u16(std::byte* ring, std::size_t offset) {
  return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(ring + offset));
}

std::byte* aligned(std::byte* where, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(where) % alignment == 0 ? where : nullptr;
}

}  // namespace

Result<Rings> Rings::locate(std::shared_ptr<const GuestMemory> memory, std::uint32_t size,
                            std::uint64_t descriptors, std::uint64_t available, std::uint64_t used) {
  if (size == 0 || size > kMaxQueueSize || !std::has_single_bit(size)) {
    return fail(EINVAL, "a virtqueue of size ", size, ": it must be a power of two up to ", kMaxQueueSize);
  }
  Rings rings;
  rings.size = static_cast<std::uint16_t>(size);
  rings.descriptors = aligned(memory->from_user(descriptors, descriptors_bytes(size)), 16);
  rings.available = aligned(memory->from_user(available, available_bytes(size)), 2);
  rings.used = aligned(memory->from_user(used, used_bytes(size)), 4);
  if (rings.descriptors == nullptr || rings.available == nullptr || rings.used == nullptr) {
    return fail(EINVAL, "a virtqueue's rings are not inside the guest's memory, or not aligned");
  }
  rings.memory = std::move(memory);
  return rings;
}

Virtqueue::Virtqueue(Rings rings, bool event_idx, std::uint16_t next_available)
    : rings_(std::move(rings)), event_idx_(event_idx), next_available_(next_available) {
  // Not from a former run: a guest that was rebooted has made a new ring.
  used_index_ = shared_u16(rings_.used, kRingIndexOffset).load(std::memory_order_acquire);
  published_index_ = used_index_;
}

std::uint16_t Virtqueue::available_index() const {
  return shared_u16(rings_.available, kRingIndexOffset).load(std::memory_order_acquire);
}

std::uint16_t Virtqueue::available_entry(std::uint16_t index) const {
  const std::size_t slot = index & (rings_.size - 1U);
  return shared_u16(rings_.available, kRingElementsOffset + slot * 2).load(std::memory_order_relaxed);
}

Result<Virtqueue::Pop> Virtqueue::pop(Chain& chain, Error* why) {
  const auto waiting = static_cast<std::uint16_t>(available_index() - next_available_);
  if (waiting == 0) return Pop::kEmpty;
  if (waiting > rings_.size) {
    return fail(EPROTO, "the guest offers ", waiting, " requests in a virtqueue of ", rings_.size);
  }
  const std::uint16_t head = available_entry(next_available_);
  if (head >= rings_.size) return fail(EPROTO, "descriptor ", head, " in a virtqueue of ", rings_.size);
  ++next_available_;
  const std::span table(reinterpret_cast<const Descriptor*>(rings_.descriptors), rings_.size);
  auto read = read_chain(*rings_.memory, table, head, chain);
  if (read) return Pop::kChain;
  *why = std::move(read).error();
  return Pop::kBadChain;
}

void Virtqueue::push(std::uint16_t head, std::uint32_t written_bytes) {
  const std::size_t slot = used_index_ & (rings_.size - 1U);
  auto* element =
      reinterpret_cast<UsedElement*>(rings_.used + kRingElementsOffset + slot * sizeof(UsedElement));
  std::atomic_ref(element->id).store(head, std::memory_order_relaxed);
  std::atomic_ref(element->length).store(written_bytes, std::memory_order_relaxed);
  ++used_index_;
}

bool Virtqueue::publish() {
  const std::uint16_t before = published_index_;
  published_index_ = used_index_;
  shared_u16(rings_.used, kRingIndexOffset).store(used_index_, std::memory_order_release);
  // The index must be out before what the guest wants is read; it does the same the other way round.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (event_idx_) {
    const auto event =
        shared_u16(rings_.available, used_event_offset(rings_.size)).load(std::memory_order_relaxed);
    const bool first = !told_once_;
    told_once_ = true;
    return first || passes_event(event, used_index_, before);
  }
  const auto flags = shared_u16(rings_.available, kRingFlagsOffset).load(std::memory_order_relaxed);
  return (flags & kAvailNoInterrupt) == 0;
}

void Virtqueue::disable_kicks() {
  // With EVENT_IDX, an event index that stays behind does it.
  if (!event_idx_) shared_u16(rings_.used, kRingFlagsOffset).store(kUsedNoNotify, std::memory_order_relaxed);
}

bool Virtqueue::enable_kicks() {
  if (event_idx_) {
    shared_u16(rings_.used, avail_event_offset(rings_.size))
        .store(next_available_, std::memory_order_relaxed);
  } else {
    shared_u16(rings_.used, kRingFlagsOffset).store(0, std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return has_waiting();
}

}  // namespace layerboot::vfsd::vhost
