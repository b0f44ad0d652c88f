// FakeQueue: the driver's side of one split virtqueue, in memory that a back end maps too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/vhost/ring_layout.h"

namespace layerboot::test {

/// Belongs to one thread. Chains are laid out as Linux does it: a descriptor for each 4 KiB page.
class FakeQueue {
 public:
  static constexpr std::size_t kPageBytes = 4096;

  /// `zone` is this queue's part of the guest's memory, and begins at `guest_address`.
  FakeQueue(std::span<std::byte> zone, std::uint64_t guest_address, std::uint16_t size, bool event_idx,
            bool indirect);

  /// Empties the rings, as a guest does that boots.
  void reset();

  // ---- requests ---------------------------------------------------------------------------------
  struct Request {
    std::uint16_t head = 0;
    std::uint64_t address = 0;  // of everything: descriptors, then what is read, then what is written
    std::size_t allocated_bytes = 0;
    std::byte* reply = nullptr;
    std::size_t reply_bytes = 0;
    std::vector<std::uint16_t> descriptors;
  };
  /// Lays out a request of `out` (for the device to read) and `reply_bytes` for its answer; null `head` room
  /// gives ENOSPC. Not offered yet.
  Result<Request> prepare(std::span<const std::byte> out, std::size_t reply_bytes);
  /// Puts `head` into the available ring and makes it visible.
  void offer(std::uint16_t head);
  /// Kicks if the device asked for it.
  void kick();
  /// Waits for the answer to `request` and frees it; the bytes that the device says it has written. ENOTCONN
  /// when the back end is gone without one.
  Result<std::vector<std::byte>> wait(const Request& request);
  /// Whether the device has answered it.
  bool is_done(const Request& request);

  // ---- the raw ring, for those who break it -----------------------------------------------------
  [[nodiscard]] vfsd::vhost::Descriptor& descriptor(std::size_t index) {
    return reinterpret_cast<vfsd::vhost::Descriptor*>(zone_.data())[index];
  }
  void set_available_index(std::uint16_t index);
  void force_kick();
  /// Frees a request that will not be answered.
  void abandon(const Request& request);
  /// `length` bytes of this zone; null when there is no room.
  std::byte* allocate(std::size_t length);
  [[nodiscard]] std::uint64_t guest_address_of(const std::byte* where) const {
    return guest_address_ + static_cast<std::uint64_t>(where - zone_.data());
  }
  /// The number of answers so far, valid or not.
  std::uint16_t used_index();
  /// The length that the device gave with its last answer to `head`.
  [[nodiscard]] std::uint32_t last_used_length(std::uint16_t head) const { return done_.at(head); }
  void collect();
  [[nodiscard]] bool has_answer(std::uint16_t head) const { return done_.contains(head); }

  // ---- for the front end ------------------------------------------------------------------------
  [[nodiscard]] std::uint64_t descriptors_address() const { return guest_address_; }
  [[nodiscard]] std::uint64_t available_address() const { return guest_address_ + available_offset_; }
  [[nodiscard]] std::uint64_t used_address() const { return guest_address_ + used_offset_; }
  [[nodiscard]] std::uint16_t size() const { return size_; }
  void set_event_idx(bool on) { event_idx_ = on; }
  void set_events(UniqueFd kick, UniqueFd call);
  /// The front end's connection: when the back end closes it, a wait ends with ENOTCONN. -1 for none. Lent.
  void set_connection(int fd) { connection_fd_ = fd; }
  [[nodiscard]] int kick_fd() const { return kick_fd_.get(); }
  [[nodiscard]] int call_fd() const { return call_fd_.get(); }
  [[nodiscard]] std::uint64_t kicks() const { return kicks_; }
  [[nodiscard]] std::uint64_t interrupts() const { return interrupts_; }

 private:
  std::atomic_ref<std::uint16_t> shared(std::size_t offset) {
    return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(zone_.data() + offset));
  }
  std::uint64_t allocate_address(std::size_t length);
  void free_address(std::uint64_t address, std::size_t length);
  void lay_out(Request& request, std::span<const vfsd::vhost::Descriptor> pieces);

  std::span<std::byte> zone_;
  std::uint64_t guest_address_;
  std::uint16_t size_;
  bool event_idx_;
  bool indirect_;
  std::size_t available_offset_ = 0;
  std::size_t used_offset_ = 0;
  UniqueFd kick_fd_;
  UniqueFd call_fd_;
  int connection_fd_ = -1;
  std::vector<std::uint16_t> free_descriptors_;
  std::map<std::size_t, std::size_t> free_memory_;  // offset in the zone -> bytes
  std::uint16_t available_index_ = 0;
  std::uint16_t kicked_index_ = 0;
  std::uint16_t seen_used_ = 0;
  std::map<std::uint16_t, std::uint32_t> done_;  // head -> written bytes
  std::uint64_t kicks_ = 0;
  std::uint64_t interrupts_ = 0;
};

}  // namespace layerboot::test
