#include "bench/lane.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>

namespace layerboot::bench {

using vfsd::vhost::Descriptor;
using vfsd::vhost::UsedElement;

namespace {

constexpr int kPatienceMilliseconds = 60'000;
constexpr std::size_t kTableBytes = 8192;
constexpr std::size_t kSlotBytes = kTableBytes + 2 * kPageBytes;  // table, what is read, what is written

std::byte* page_aligned(std::byte* where) {
  const auto address = reinterpret_cast<std::uintptr_t>(where);
  return where + ((kPageBytes - address % kPageBytes) % kPageBytes);
}

}  // namespace

Lane::Lane(test::FakeQueue& queue)
    : queue_(&queue),
      available_(reinterpret_cast<std::byte*>(&queue.descriptor(0)) +
                 (queue.available_address() - queue.descriptors_address())),
      used_(reinterpret_cast<std::byte*>(&queue.descriptor(0)) +
            (queue.used_address() - queue.descriptors_address())),
      size_(queue.size()),
      available_index_(shared(available_, vfsd::vhost::kRingIndexOffset).load()),
      flushed_index_(available_index_),
      used_index_(shared(used_, vfsd::vhost::kRingIndexOffset).load()) {}

Result<Lane> Lane::create(test::FakeQueue& queue) {
  Lane lane(queue);
  if (lane.available_index_ != lane.used_index_) return fail(EBUSY, "the queue is not idle");
  std::byte* const memory = queue.allocate(kMaxDepth * kSlotBytes + kDataBytes + 2 * kPageBytes);
  if (memory == nullptr) return fail(ENOSPC, "the queue's memory is too small");
  lane.slot_memory_ = page_aligned(memory);
  lane.data_memory_ = lane.slot_memory_ + kMaxDepth * kSlotBytes;
  return lane;
}

Result<void> Lane::set_up(unsigned depth, std::size_t data_bytes) {
  const std::size_t room_bytes = 2 * ((data_bytes + kPageBytes - 1) / kPageBytes) * kPageBytes;
  if (depth > kMaxDepth || depth * room_bytes > kDataBytes) {
    return fail(EINVAL, depth, " requests of ", data_bytes, " bytes at once are too many");
  }
  slots_.assign(depth, {});
  for (unsigned i = 0; i < depth; ++i) {
    Slot& slot = slots_[i];
    std::byte* const memory = slot_memory_ + i * kSlotBytes;
    slot.lane_ = this;
    slot.head_ = static_cast<std::uint16_t>(i);
    slot.table_ = memory;
    slot.in_ = memory + kTableBytes;
    slot.out_ = slot.in_ + kPageBytes;
    slot.data_ = data_memory_ + i * room_bytes;
    slot.data_pages_ = room_bytes / kPageBytes / 2;
    slot.number = i;
  }
  return {};
}

std::byte* Slot::data_page(std::size_t index) const {
  if (!shape_.scattered) return data_ + index * kPageBytes;
  // Every other page, from the back: none follows another in memory.
  return data_ + (data_pages_ - 1 - index) * 2 * kPageBytes;
}

void Slot::lay_out(const Shape& shape) {
  auto* const table = reinterpret_cast<Descriptor*>(table_);
  std::uint16_t count = 0;
  shape_ = shape;
  const auto add = [&](std::byte* where, std::size_t length, std::uint16_t flags) {
    if (length == 0) return;
    table[count] = {lane_->queue_->guest_address_of(where), static_cast<std::uint32_t>(length),
                    static_cast<std::uint16_t>(flags | vfsd::vhost::kDescriptorNext),
                    static_cast<std::uint16_t>(count + 1)};
    ++count;
  };
  const auto add_pages = [&](std::size_t length, std::uint16_t flags) {
    for (std::size_t done = 0; done < length; done += kPageBytes) {
      add(data_page(done / kPageBytes), std::min(kPageBytes, length - done), flags);
    }
  };
  add(in_, sizeof(fuse_in_header), 0);
  add(args(), shape.args_bytes, 0);
  add_pages(shape.data_in_bytes, 0);
  if (!shape.no_reply) {
    add(out_, sizeof(fuse_out_header), vfsd::vhost::kDescriptorWrite);
    add(out_ + sizeof(fuse_out_header), shape.reply_args_bytes, vfsd::vhost::kDescriptorWrite);
    add_pages(shape.data_out_bytes, vfsd::vhost::kDescriptorWrite);
  }
  table[count - 1].flags &= static_cast<std::uint16_t>(~vfsd::vhost::kDescriptorNext);
  lane_->queue_->descriptor(head_) = {lane_->queue_->guest_address_of(table_),
                                      static_cast<std::uint32_t>(count * sizeof(Descriptor)),
                                      vfsd::vhost::kDescriptorIndirect, 0};
  laid_out_ = true;
}

void Slot::begin(std::uint32_t opcode, std::uint64_t node_id, const Shape& shape) {
  if (!laid_out_ || shape != shape_) lay_out(shape);
  unique_ = lane_->next_unique_ += 2;
  fuse_in_header header{};
  header.len = static_cast<std::uint32_t>(sizeof(header)) + shape.args_bytes + shape.data_in_bytes;
  header.opcode = opcode;
  header.unique = unique_;
  header.nodeid = node_id;
  std::memcpy(in_, &header, sizeof(header));
  reinterpret_cast<fuse_out_header*>(out_)->unique = 0;  // a reply that is never written shows
}

bool Slot::reply_is_sound(std::uint32_t used_length) const {
  if (shape_.no_reply) return true;
  return out().len == used_length && out().unique == unique_ && out().len >= sizeof(fuse_out_header);
}

void Lane::offer(Slot& slot) {
  const std::size_t at = available_index_ % size_;
  shared(available_, vfsd::vhost::kRingElementsOffset + at * 2).store(slot.head_, std::memory_order_relaxed);
  ++available_index_;
}

void Lane::flush() {
  if (available_index_ == flushed_index_) return;
  shared(available_, vfsd::vhost::kRingIndexOffset).store(available_index_, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const auto event = shared(used_, vfsd::vhost::avail_event_offset(size_)).load(std::memory_order_relaxed);
  const bool wanted = vfsd::vhost::passes_event(event, available_index_, flushed_index_);
  flushed_index_ = available_index_;
  if (!wanted) return;
  ++kicks_;
  ::eventfd_write(queue_->kick_fd(), 1);
}

Slot* Lane::take(std::uint32_t& used_length) {
  if (used_index_ == shared(used_, vfsd::vhost::kRingIndexOffset).load(std::memory_order_acquire)) {
    return nullptr;
  }
  const auto* const element =
      reinterpret_cast<const UsedElement*>(used_ + vfsd::vhost::kRingElementsOffset) + used_index_ % size_;
  ++used_index_;
  used_length = element->length;
  return element->id < slots_.size() ? &slots_[element->id] : nullptr;
}

Result<void> Lane::wait() {
  const auto answered = [&] {
    return used_index_ != shared(used_, vfsd::vhost::kRingIndexOffset).load(std::memory_order_acquire);
  };
  for (;;) {
    if (answered()) return {};
    shared(available_, vfsd::vhost::used_event_offset(size_)).store(used_index_, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (answered()) return {};
    pollfd call{queue_->call_fd(), POLLIN, 0};
    const int ready = ::poll(&call, 1, kPatienceMilliseconds);
    if (ready == 0) return fail(ETIMEDOUT, "no reply from the server: a lost kick or a lost interrupt");
    eventfd_t count = 0;
    if (ready > 0 && ::eventfd_read(queue_->call_fd(), &count) == 0) ++interrupts_;
  }
}

}  // namespace layerboot::bench
