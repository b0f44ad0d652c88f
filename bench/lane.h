// Lane: one virtqueue driven as hard as a guest can, with requests laid out in advance.
//
// FakeQueue (tests/support) plays the driver faithfully and slowly; a Lane takes its memory and its ring over
// and spends next to nothing on a request: a slot has one descriptor of the ring and an indirect table of its
// own, which is rewritten only when the shape of its request changes.
#pragma once

#include <linux/fuse.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "oci-mount/base/result.h"
#include "tests/support/fake_guest_queue.h"
#include "vfsd/vhost/ring_layout.h"

namespace layerboot::bench {

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kMaxDataBytes = 1U << 20;

/// How a request lies in descriptors, as Linux's virtio_fs lays it out: header, arguments, a page each.
struct Shape {
  std::uint32_t args_bytes = 0;        // behind fuse_in_header
  std::uint32_t reply_args_bytes = 0;  // behind fuse_out_header
  std::uint32_t data_in_bytes = 0;     // pages that the server reads (WRITE)
  std::uint32_t data_out_bytes = 0;    // pages that the server fills (READ, READDIRPLUS)
  bool scattered = false;              // no two of the data's pages are neighbours
  bool no_reply = false;               // FORGET

  friend bool operator==(const Shape&, const Shape&) = default;
};

class Lane;

/// One request at a time; a workload may run a sequence of them.
class Slot {
 public:
  /// Writes the header and the arguments of the next request. `args_bytes` follow in args().
  void begin(std::uint32_t opcode, std::uint64_t node, const Shape& shape);
  [[nodiscard]] std::byte* args() { return in_ + sizeof(fuse_in_header); }
  template <typename T>
  void put(const T& value, std::size_t at = 0) {
    std::memcpy(args() + at, &value, sizeof(T));
  }
  void put_name(std::string_view name, std::size_t at) {
    std::memcpy(args() + at, name.data(), name.size());
    args()[at + name.size()] = std::byte{0};
  }
  [[nodiscard]] std::byte* data_page(std::size_t index) const;

  // ---- of the reply
  [[nodiscard]] const fuse_out_header& out() const { return *reinterpret_cast<const fuse_out_header*>(out_); }
  template <typename T>
  [[nodiscard]] T reply_args() const {
    T value;
    std::memcpy(&value, out_ + sizeof(fuse_out_header), sizeof(T));
    return value;
  }
  /// Payload behind the header, in arguments or data.
  [[nodiscard]] std::uint32_t payload_bytes() const {
    return out().len - static_cast<std::uint32_t>(sizeof(fuse_out_header));
  }
  /// Whether the reply is one: lengths and unique agree.
  [[nodiscard]] bool reply_is_sound(std::uint32_t used_length) const;

  // ---- a workload's own
  std::uint32_t step = 0;
  std::uint64_t number = 0;
  std::uint64_t node = 0;
  std::uint64_t handle = 0;
  std::uint64_t cookie = 0;
  std::uint64_t started_ns = 0;

 private:
  friend class Lane;
  void lay_out(const Shape& shape);

  Lane* lane_ = nullptr;
  std::uint16_t head_ = 0;
  std::byte* in_ = nullptr;
  std::byte* out_ = nullptr;
  std::byte* table_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t data_pages_ = 0;
  std::uint64_t unique_ = 0;
  bool laid_out_ = false;
  Shape shape_;
};

class Lane {
 public:
  static constexpr unsigned kMaxDepth = 32;
  /// What a queue's zone must hold for all slots.
  static constexpr std::size_t kDataBytes = 64U << 20;
  static constexpr std::size_t kZoneBytes = kDataBytes + (2U << 20);

  /// Takes `queue` over, whose ring must be idle; it must not be used otherwise from then on.
  static Result<Lane> create(test::FakeQueue& queue);

  /// Prepares `depth` slots with room for `data_bytes` each, twice that for scattering.
  Result<void> set_up(unsigned depth, std::size_t data_bytes);
  [[nodiscard]] std::span<Slot> slots() { return slots_; }

  /// Puts the slot's request into the ring; flush() shows it.
  void offer(Slot& slot);
  void flush();
  /// The next answered slot and its used length; null when there is none yet.
  Slot* take(std::uint32_t& used_length);
  /// Sleeps until there is one. ETIMEDOUT after a long time.
  Result<void> wait();

  [[nodiscard]] std::uint64_t interrupts() const { return interrupts_; }
  [[nodiscard]] std::uint64_t kicks() const { return kicks_; }

 private:
  friend class Slot;
  explicit Lane(test::FakeQueue& queue);
  [[nodiscard]] std::atomic_ref<std::uint16_t> shared(std::byte* ring, std::size_t offset) const {
    return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(ring + offset));
  }

  test::FakeQueue* queue_;
  std::byte* available_;
  std::byte* used_;
  std::uint16_t size_;
  std::uint16_t available_index_;
  std::uint16_t flushed_index_;
  std::uint16_t used_index_;
  std::byte* slot_memory_ = nullptr;
  std::byte* data_memory_ = nullptr;
  std::vector<Slot> slots_;
  std::uint64_t next_unique_ = 1'000'000;
  std::uint64_t interrupts_ = 0;
  std::uint64_t kicks_ = 0;
};

}  // namespace layerboot::bench
