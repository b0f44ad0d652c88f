// QueueWorker: the thread and reactor of one request queue.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "vfsd/daemon/served_queue.h"

namespace layerboot::vfsd {

class QueueWorker {
 public:
  enum class Queues { kOne, kHighPriorityToo };
  /// A worker with a request queue, and the high-priority queue before it if so wanted, running.
  static Result<std::unique_ptr<QueueWorker>> create(fuse::Session& session, Queues queues,
                                                     MemoryBudget& budget, IoEngine engine);
  /// REQUIRES: its queues are stopped.
  ~QueueWorker();
  QueueWorker(const QueueWorker&) = delete;
  QueueWorker& operator=(const QueueWorker&) = delete;

  /// Runs `work(queue, done)` on the worker's thread and returns when `done` has been called there. For
  /// threads other than the worker's.
  void run(unsigned queue, const std::function<void(ServedQueue&, std::function<void()>)>& work);
  /// The same, not waited for: after what was given before.
  void post(unsigned queue, std::function<void(ServedQueue&)> work);

  /// Adds what its queues have counted to `sum`. Thread-safe.
  void add_counts(fuse::RequestCounts& sum) const;

 private:
  QueueWorker() = default;
  /// What the thread does; `ready` is told when the queues may be used, or why there are none.
  void serve(fuse::Session& session, Queues queues, MemoryBudget& budget, IoEngine engine,
             std::promise<Result<void>>& ready);

  std::unique_ptr<Reactor> reactor_;  // the thread's
  std::vector<std::unique_ptr<ServedQueue>> queues_;
  std::thread thread_;
};

}  // namespace layerboot::vfsd
