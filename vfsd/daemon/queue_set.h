// QueueSet: all queues of the device, spread over their workers.
#pragma once

#include <memory>
#include <vector>

#include "vfsd/daemon/queue_worker.h"
#include "vfsd/daemon/stop_deadline.h"
#include "vfsd/fuse/wire.h"
#include "vfsd/vhost/backend.h"

namespace layerboot::vfsd {

/// Queue 0 is the high-priority one and shares the worker of queue 1; every other has its own. A stop waits
/// for what is in flight, and with it the calling thread.
class QueueSet final : public vhost::QueueHost {
 public:
  /// Of each worker, beside its queues' slots: a page of a listing.
  static constexpr std::size_t kWorkerBytes = fuse::kMaxWriteBytes;

  ~QueueSet() { budget_.give_back(workers_.size() * kWorkerBytes); }
  /// All on one engine. `session`, `budget` and `deadline` must outlive the set. With a deadline, what
  /// a queue is told and does not do for longer ends the process.
  static Result<std::unique_ptr<QueueSet>> create(fuse::Session& session, unsigned request_queues,
                                                  MemoryBudget& budget, IoEngine engine,
                                                  StopDeadline* deadline = nullptr);

  [[nodiscard]] unsigned queue_count() const override { return static_cast<unsigned>(workers_.size()) + 1; }
  void start(unsigned index, vhost::Rings rings, bool event_idx, std::uint16_t next_available,
             int kick_fd) override;
  std::uint16_t stop(unsigned index) override;
  void move_to(unsigned index, vhost::Rings rings) override;
  void set_call(unsigned index, UniqueFd call_fd) override;

  /// How many requests came on all queues so far, of each opcode, into `sum`. Thread-safe.
  void add_counts(fuse::RequestCounts& sum) const;

 private:
  QueueSet(MemoryBudget& budget, StopDeadline* deadline) : budget_(budget), deadline_(deadline) {}
  struct Place {
    unsigned worker;
    unsigned queue;  // of it
  };
  static Place place_of(unsigned index);
  /// Runs `work(queue, done)` on the thread of queue `index`, which may be held up by a request.
  template <typename Work>
  void run(unsigned index, Work work);

  MemoryBudget& budget_;
  StopDeadline* const deadline_;
  std::vector<std::unique_ptr<QueueWorker>> workers_;
};

}  // namespace layerboot::vfsd
