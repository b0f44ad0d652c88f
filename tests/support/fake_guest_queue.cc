#include "tests/support/fake_guest_queue.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace layerboot::test {

using vfsd::vhost::Descriptor;
using vfsd::vhost::UsedElement;

namespace {

constexpr int kPatienceMilliseconds = 30'000;  // a reply that takes longer is lost

constexpr std::size_t round_up(std::size_t value, std::size_t to) { return (value + to - 1) / to * to; }

}  // namespace

FakeQueue::FakeQueue(std::span<std::byte> zone, std::uint64_t guest_address, std::uint16_t size,
                     bool event_idx, bool indirect)
    : zone_(zone), guest_address_(guest_address), size_(size), event_idx_(event_idx), indirect_(indirect) {
  available_offset_ = vfsd::vhost::descriptors_bytes(size);
  used_offset_ = round_up(available_offset_ + vfsd::vhost::available_bytes(size), 64);
  reset();
}

void FakeQueue::reset() {
  const std::size_t rings_bytes = round_up(used_offset_ + vfsd::vhost::used_bytes(size_), kPageBytes);
  std::memset(zone_.data(), 0, rings_bytes);
  free_descriptors_.clear();
  for (std::uint16_t i = size_; i > 0; --i) free_descriptors_.push_back(static_cast<std::uint16_t>(i - 1));
  free_memory_ = {{rings_bytes, zone_.size() - rings_bytes}};
  available_index_ = kicked_index_ = seen_used_ = 0;
  done_.clear();
}

void FakeQueue::set_events(UniqueFd kick, UniqueFd call) {
  kick_fd_ = std::move(kick);
  call_fd_ = std::move(call);
}

std::uint64_t FakeQueue::allocate_address(std::size_t length) {
  length = round_up(length, 64);
  for (auto& [offset, bytes] : free_memory_) {
    if (bytes < length) continue;
    const std::size_t found = offset;
    const std::size_t rest = bytes - length;
    free_memory_.erase(found);
    if (rest > 0) free_memory_[found + length] = rest;
    return guest_address_ + found;
  }
  return 0;
}

void FakeQueue::free_address(std::uint64_t address, std::size_t length) {
  auto offset = static_cast<std::size_t>(address - guest_address_);
  length = round_up(length, 64);
  const auto after = free_memory_.lower_bound(offset);
  if (after != free_memory_.end() && offset + length == after->first) {
    length += after->second;
    free_memory_.erase(after);
  }
  const auto next = free_memory_.lower_bound(offset);
  if (next != free_memory_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += length;
      return;
    }
  }
  free_memory_[offset] = length;
}

std::byte* FakeQueue::allocate(std::size_t length) {
  const auto address = allocate_address(length);
  return address == 0 ? nullptr : zone_.data() + (address - guest_address_);
}

Result<FakeQueue::Request> FakeQueue::prepare(std::span<const std::byte> out, std::size_t reply_bytes) {
  const std::size_t pages =
      round_up(out.size(), kPageBytes) / kPageBytes + round_up(reply_bytes, kPageBytes) / kPageBytes + 4;
  const std::size_t table_bytes = round_up(pages * sizeof(Descriptor), 64);
  Request request;
  request.allocated_bytes = table_bytes + round_up(out.size(), 64) + reply_bytes + 64;
  request.address = allocate_address(request.allocated_bytes);
  if (request.address == 0) return fail(ENOSPC, "the fake guest's memory is full");
  std::byte* base = zone_.data() + (request.address - guest_address_);
  std::byte* readable = base + table_bytes;
  request.reply = readable + round_up(out.size(), 64);
  request.reply_bytes = reply_bytes;
  if (!out.empty()) std::memcpy(readable, out.data(), out.size());
  std::memset(request.reply, 0xa5, reply_bytes);  // so that what is not written shows

  // A header by itself, then pages, as virtio_fs does it.
  std::vector<Descriptor> pieces;
  const auto cut_up = [&](std::byte* where, std::size_t length, std::size_t first, std::uint16_t flags) {
    for (std::size_t done = 0; done < length;) {
      const std::size_t piece = std::min(length - done, done == 0 ? first : kPageBytes);
      pieces.push_back({guest_address_of(where + done), static_cast<std::uint32_t>(piece), flags, 0});
      done += piece;
    }
  };
  cut_up(readable, out.size(), 40, 0);
  cut_up(request.reply, reply_bytes, 16, vfsd::vhost::kDescriptorWrite);
  const std::size_t needed = indirect_ ? 1 : pieces.size();
  if (pieces.empty() || free_descriptors_.size() < needed) {
    free_address(request.address, request.allocated_bytes);
    return fail(ENOSPC, "the fake guest's virtqueue is full");
  }
  lay_out(request, pieces);
  return request;
}

void FakeQueue::lay_out(Request& request, std::span<const Descriptor> pieces) {
  const std::size_t count = indirect_ ? 1 : pieces.size();
  for (std::size_t i = 0; i < count; ++i) {
    request.descriptors.push_back(free_descriptors_.back());
    free_descriptors_.pop_back();
  }
  request.head = request.descriptors.front();
  if (!indirect_) {
    for (std::size_t i = 0; i < count; ++i) {
      Descriptor piece = pieces[i];
      if (i + 1 < count) {
        piece.flags |= vfsd::vhost::kDescriptorNext;
        piece.next = request.descriptors[i + 1];
      }
      descriptor(request.descriptors[i]) = piece;
    }
    return;
  }
  auto* table = reinterpret_cast<Descriptor*>(zone_.data() + (request.address - guest_address_));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    table[i] = pieces[i];
    if (i + 1 < pieces.size()) {
      table[i].flags |= vfsd::vhost::kDescriptorNext;
      table[i].next = static_cast<std::uint16_t>(i + 1);
    }
  }
  descriptor(request.head) = {request.address, static_cast<std::uint32_t>(pieces.size() * sizeof(Descriptor)),
                              vfsd::vhost::kDescriptorIndirect, 0};
}

void FakeQueue::offer(std::uint16_t head) {
  const std::size_t slot = available_index_ % size_;
  shared(available_offset_ + vfsd::vhost::kRingElementsOffset + slot * 2)
      .store(head, std::memory_order_relaxed);
  set_available_index(static_cast<std::uint16_t>(available_index_ + 1));
}

void FakeQueue::set_available_index(std::uint16_t index) {
  available_index_ = index;
  shared(available_offset_ + vfsd::vhost::kRingIndexOffset).store(index, std::memory_order_release);
}

void FakeQueue::kick() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint16_t before = kicked_index_;
  kicked_index_ = available_index_;
  bool wanted = false;
  if (event_idx_) {
    const auto event =
        shared(used_offset_ + vfsd::vhost::avail_event_offset(size_)).load(std::memory_order_relaxed);
    wanted = vfsd::vhost::passes_event(event, available_index_, before);
  } else {
    const auto flags = shared(used_offset_ + vfsd::vhost::kRingFlagsOffset).load(std::memory_order_relaxed);
    wanted = (flags & vfsd::vhost::kUsedNoNotify) == 0;
  }
  if (wanted) force_kick();
}

void FakeQueue::force_kick() {
  ++kicks_;
  ::eventfd_write(kick_fd_.get(), 1);
}

std::uint16_t FakeQueue::used_index() {
  return shared(used_offset_ + vfsd::vhost::kRingIndexOffset).load(std::memory_order_acquire);
}

void FakeQueue::collect() {
  for (const std::uint16_t end = used_index(); seen_used_ != end; ++seen_used_) {
    const std::size_t slot = seen_used_ % size_;
    auto* element = reinterpret_cast<UsedElement*>(
        zone_.data() + used_offset_ + vfsd::vhost::kRingElementsOffset + slot * sizeof(UsedElement));
    const auto id = std::atomic_ref(element->id).load(std::memory_order_relaxed);
    done_[static_cast<std::uint16_t>(id)] = std::atomic_ref(element->length).load(std::memory_order_relaxed);
  }
}

bool FakeQueue::is_done(const Request& request) {
  collect();
  return done_.contains(request.head);
}

Result<std::vector<std::byte>> FakeQueue::wait(const Request& request) {
  while (!is_done(request)) {
    if (event_idx_) {
      shared(available_offset_ + vfsd::vhost::used_event_offset(size_))
          .store(seen_used_, std::memory_order_relaxed);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (is_done(request)) break;
    std::array<pollfd, 2> events{{{call_fd_.get(), POLLIN, 0}, {connection_fd_, 0, 0}}};
    const int ready = ::poll(events.data(), events.size(), kPatienceMilliseconds);
    if (ready == 0) return fail(ETIMEDOUT, "no reply from the back end: a lost kick or a lost interrupt");
    if ((events[1].revents & POLLHUP) != 0 && !is_done(request)) {
      return fail(ENOTCONN, "the back end is gone");
    }
    eventfd_t count = 0;
    if ((events[0].revents & POLLIN) != 0 && ::eventfd_read(call_fd_.get(), &count) == 0) ++interrupts_;
  }
  const std::uint32_t written = done_.at(request.head);
  if (written > request.reply_bytes) return fail(EBADMSG, "the back end wrote more than there was room for");
  std::vector<std::byte> reply(request.reply, request.reply + written);
  abandon(request);
  return reply;
}

void FakeQueue::abandon(const Request& request) {
  done_.erase(request.head);
  for (const auto index : request.descriptors) free_descriptors_.push_back(index);
  free_address(request.address, request.allocated_bytes);
}

}  // namespace layerboot::test
