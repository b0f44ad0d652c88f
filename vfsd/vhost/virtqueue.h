// Virtqueue: the device's side of one split virtqueue.
//
// Follows Virtual I/O Device 1.2, section 2.7. Replies are appended to the used ring one by one and made
// visible all at once by publish(), with one decision on whether the guest is to be told.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "oci-mount/base/result.h"
#include "vfsd/vhost/chain.h"
#include "vfsd/vhost/guest_memory.h"

namespace layerboot::vfsd::vhost {

inline constexpr std::uint32_t kMaxQueueSize = 32768;

/// Where a queue lies: addresses in this process, inside `memory`.
struct Rings {
  std::shared_ptr<const GuestMemory> memory;
  std::uint16_t size = 0;
  std::byte* descriptors = nullptr;
  std::byte* available = nullptr;
  std::byte* used = nullptr;

  /// Finds the three rings by the front end's addresses; EINVAL if the size is not a power of two up to
  /// kMaxQueueSize, or a ring is not whole inside one region, or not aligned.
  static Result<Rings> locate(std::shared_ptr<const GuestMemory> memory, std::uint32_t size,
                              std::uint64_t descriptors, std::uint64_t available, std::uint64_t used);
};

/// Belongs to one thread.
class Virtqueue {
 public:
  /// Takes up at `next_available` of the available ring; where the used ring stands is read from guest
  /// memory.
  Virtqueue(Rings rings, bool event_idx, std::uint16_t next_available);

  enum class Pop { kEmpty, kChain, kBadChain };
  /// The next request. kBadChain: `chain.head` is to be given back, with nothing written; `why` says what was
  /// wrong. An Error means that the ring itself makes no sense, and the queue can't go on.
  Result<Pop> pop(Chain& chain, Error* why);

  /// Whether the guest offers more than was popped; pop() judges what.
  [[nodiscard]] bool has_waiting() const { return available_index() != next_available_; }

  /// Appends a reply; the guest does not see it before publish().
  void push(std::uint16_t head, std::uint32_t written_bytes);
  /// How many the guest has not been shown yet.
  [[nodiscard]] unsigned unpublished() const {
    return static_cast<std::uint16_t>(used_index_ - published_index_);
  }
  /// Shows the guest what was pushed. True if it wants to be told.
  [[nodiscard]] bool publish();

  /// Asks the guest not to kick, while we look anyway.
  void disable_kicks();
  /// Asks the guest to kick; true if something arrived before it could know: pop again.
  [[nodiscard]] bool enable_kicks();

  /// The memory table has changed: the same queue, seen through another mapping.
  void move_to(Rings rings) { rings_ = std::move(rings); }

  [[nodiscard]] std::uint16_t next_available() const { return next_available_; }
  [[nodiscard]] const std::shared_ptr<const GuestMemory>& memory() const { return rings_.memory; }

 private:
  [[nodiscard]] std::uint16_t available_index() const;
  [[nodiscard]] std::uint16_t available_entry(std::uint16_t index) const;

  Rings rings_;
  bool event_idx_;
  std::uint16_t next_available_;
  std::uint16_t used_index_ = 0;
  std::uint16_t published_index_ = 0;
  bool told_once_ = false;  // before that, the guest's used_event may be stale
};

}  // namespace layerboot::vfsd::vhost
