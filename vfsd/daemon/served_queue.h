// ServedQueue: one virtqueue's requests, from the kick to the used ring.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "oci-mount/base/log_limit.h"
#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/daemon/idle_poll.h"
#include "vfsd/fuse/request_counts.h"
#include "vfsd/fuse/session.h"
#include "vfsd/vhost/virtqueue.h"

namespace layerboot::vfsd {

/// Belongs to the thread of its reactor. Replies are shown to the guest once for each batch of the reactor
/// (or after kEarlyPublishBytes, so that a small reply does not wait behind large copies), with one
/// interrupt.
class ServedQueue {
 public:
  /// Requests in work at a time. At the bound, more stay in the available ring until one is done.
  static constexpr std::size_t kMaxInFlight = 256;
  /// What a request in work takes at most, but for large ones: its slot, body, slices and tasks. Each slot is
  /// paid for with that; where the budget has no room for another, requests wait as at kMaxInFlight.
  static constexpr std::size_t kSlotBytes = 24U << 10;
  /// Slots that need no room in the budget, so that there is always one.
  static constexpr std::size_t kFreeSlots = 16;
  /// Slots kept while nothing is in flight for kIdleTime.
  static constexpr std::size_t kIdleSlots = 64;
  static constexpr std::chrono::seconds kIdleTime{1};
  /// What large requests in work take beyond kSlotBytes, all of them together: at the bound, more wait.
  static constexpr std::size_t kMaxLargeBytes = 2U << 20;
  /// Requests handled before the reactor gets to other work.
  static constexpr unsigned kMaxBatch = 128;
  static constexpr std::size_t kEarlyPublishBytes = 512U << 10;

  /// When the guest sees that a request is done.
  enum class Replies {
    kAtOnce,    // after each batch
    kGathered,  // some at a time, kGatherTime late at most: for requests that nobody waits for
  };
  static constexpr std::chrono::milliseconds kGatherTime{4};
  static constexpr unsigned kMaxGathered = 64;

  /// `budget` outlives the queue.
  ServedQueue(Reactor& reactor, fuse::Session& session, Replies replies, MemoryBudget& budget);
  /// REQUIRES: stopped.
  ~ServedQueue();
  ServedQueue(const ServedQueue&) = delete;
  ServedQueue& operator=(const ServedQueue&) = delete;

  /// `kick_fd` is lent until the queue has stopped.
  void start(vhost::Rings rings, bool event_idx, std::uint16_t next_available, int kick_fd);
  /// Takes no more requests; calls `stopped` with the next available index when none is in flight.
  void stop(std::function<void(std::uint16_t)> stopped);
  void move_to(vhost::Rings rings);
  /// Signals the new one once if the queue runs: replies may have been announced on the old one.
  void set_call(UniqueFd call_fd);

  /// What was taken so far. Thread-safe.
  [[nodiscard]] const fuse::RequestCounts& counts() const { return counts_; }

  /// The reactor's batch hook: publishes, goes on where a bound stopped it, ends a stop.
  void after_batch();

 private:
  struct Slot;

  enum class Took { kOne, kNone, kHeldUp };
  void take_requests();
  /// Takes one request; kHeldUp: there is no room for one now, or the ring is broken.
  Took take_one();
  /// Looks for more while nothing is in flight.
  bool more_arrives();
  Slot* free_slot();
  /// Gives back slots that nobody needs any more, after a while.
  void shrink_later();
  void shrink();
  void finish(Slot& slot, std::size_t reply_bytes);
  void publish();
  void publish_later();
  void tell_guest();
  /// Slots keep the memory table of their last request, so that a hit need not count references.
  void let_go_of_memory();

  Reactor& reactor_;
  fuse::Session& session_;
  const Replies replies_;
  MemoryBudget& budget_;
  bool publish_is_due_ = false;
  bool shrink_is_due_ = false;
  std::optional<vhost::Virtqueue> virtqueue_;
  UniqueFd call_;
  int kick_fd_ = -1;
  std::vector<std::unique_ptr<Slot>> slots_;  // made as needed
  std::vector<Slot*> free_;
  fuse::RequestCounts counts_;
  IdlePoll idle_poll_;
  std::size_t unpublished_bytes_ = 0;
  std::size_t large_bytes_ = 0;                 // that slots in work have beyond kSlotBytes
  bool broken_ = false;                         // the ring made no sense; nothing more is taken from it
  bool wants_more_ = false;                     // a bound was reached: go on after the batch
  std::function<void(std::uint16_t)> stopped_;  // set while stopping
  LogLimit breaks_;                             // of what is told of a ring that made no sense
};

}  // namespace layerboot::vfsd
