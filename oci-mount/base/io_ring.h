// IoRing: the engine of a Reactor on one io_uring. Follows io_uring(7); needs Linux 5.19 or later.
#pragma once

#include <liburing.h>

#include <chrono>
#include <optional>

#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/result.h"

namespace layerboot {

/// Belongs to the thread that has set it up; another may destroy it when that one has ended.
class IoRing {
 public:
  /// Requests that may be prepared between two submissions; more are submitted early, never lost.
  static constexpr unsigned kQueueEntries = 256;

  IoRing() = default;
  ~IoRing();
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;

  /// Once, before anything else. Fails where the kernel or a sandbox forbids io_uring, or has one that can't
  /// do what is needed: then nothing is left behind.
  Result<void> set_up();

  /// Its user_data is the IoCompletion that run_batch() calls.
  void submit(const io_uring_sqe& operation) { *free_entry() = operation; }

  /// Calls `completion` each time `fd` becomes readable, with IORING_CQE_F_MORE; the call without is the
  /// last.
  void watch(int fd, IoCompletion& completion);
  /// `completion` is called a last time, later. `fd` may be closed right after.
  void unwatch(int fd, IoCompletion& completion);

  /// Submits, waits until something has completed, or for `at_most`, and calls what has.
  void run_batch(std::optional<std::chrono::nanoseconds> at_most);

 private:
  io_uring_sqe* free_entry() {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
      ::io_uring_submit(&ring_);
      entry = ::io_uring_get_sqe(&ring_);
    }
    return entry;
  }

  io_uring ring_{};
  bool is_set_up_ = false;
};

}  // namespace layerboot
