// EpollEngine: the engine of a Reactor where io_uring is refused. Descriptors are waited for by epoll(7);
// what reads and writes files is tried at once where preadv2(2) and pwritev2(2) can say that it would wait
// (RWF_NOWAIT), and else done by a thread.
//
// It takes what a ring would: operations as they are prepared for one, so that the two engines are one to
// whoever submits, and the ring has nothing to translate.
#pragma once

#include <liburing.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

class WorkerPool;

/// Belongs to one thread, as a Reactor does.
class EpollEngine {
 public:
  /// Operations that wait at a time; more stand in a queue. They start with the engine, so that a program may
  /// shut itself off from making threads afterwards, and where the host allows none, this thread waits
  /// itself.
  static constexpr unsigned kThreads = 4;
  /// Descriptors that epoll tells of at a time; more are told of next time.
  static constexpr unsigned kMaxEvents = 64;

  static Result<std::unique_ptr<EpollEngine>> create();
  /// REQUIRES: nothing is in flight.
  ~EpollEngine();
  EpollEngine(const EpollEngine&) = delete;
  EpollEngine& operator=(const EpollEngine&) = delete;

  /// READV, WRITEV, FSYNC or FALLOCATE, without flags; others fail with EINVAL. Its user_data is the
  /// IoCompletion that run_batch() calls, until when `operation` itself stays where it is.
  void submit(const io_uring_sqe& operation);

  /// Calls `completion` each time `fd` becomes readable, with IORING_CQE_F_MORE; the call without is the
  /// last, and has an error (EPERM: such a descriptor can't be waited for).
  void watch(int fd, IoCompletion& completion);
  /// `completion` is called a last time, later. `fd` may be closed right after.
  void unwatch(int fd, IoCompletion& completion);

  /// Waits until something has completed, or for `at_most` and somewhat longer, and calls what has.
  void run_batch(std::optional<std::chrono::nanoseconds> at_most);

 private:
  struct Done {
    IoCompletion* completion;
    std::int32_t result;
    std::uint32_t flags;
  };

  EpollEngine() = default;
  Result<void> init();
  std::optional<std::int32_t> try_now(const io_uring_sqe& operation);
  /// On a worker's thread.
  void finish_elsewhere(const io_uring_sqe& operation, std::int32_t result);
  void gather(std::optional<std::chrono::nanoseconds> at_most);
  void take_from_workers();

  UniqueFd epoll_;
  UniqueFd wake_;
  std::vector<Done> ready_;  // for the next batch
  std::vector<Done> batch_;
  std::size_t handled_ = 0;     // of batch_
  bool writes_at_once_ = true;  // until a write has shown that its file system can't

  std::mutex mutex_;
  std::vector<Done> by_workers_;
  std::unique_ptr<WorkerPool> workers_;  // ends first
};

}  // namespace layerboot
