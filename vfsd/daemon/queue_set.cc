#include "vfsd/daemon/queue_set.h"

#include <memory>
#include <utility>

namespace layerboot::vfsd {

Result<std::unique_ptr<QueueSet>> QueueSet::create(fuse::Session& session, unsigned request_queues,
                                                   MemoryBudget& budget, IoEngine engine,
                                                   StopDeadline* deadline) {
  std::unique_ptr<QueueSet> set(new QueueSet(budget, deadline));
  for (unsigned i = 0; i < request_queues; ++i) {
    const auto queues = i == 0 ? QueueWorker::Queues::kHighPriorityToo : QueueWorker::Queues::kOne;
    LB_ASSIGN(auto worker, QueueWorker::create(session, queues, budget, engine));
    budget.take_anyway(kWorkerBytes);
    set->workers_.push_back(std::move(worker));
  }
  return set;
}

void QueueSet::add_counts(fuse::RequestCounts& sum) const {
  for (const auto& worker : workers_) worker->add_counts(sum);
}

QueueSet::Place QueueSet::place_of(unsigned index) {
  return {.worker = index == 0 ? 0 : index - 1, .queue = index == 1 ? 1U : 0U};
}

template <typename Work>
void QueueSet::run(unsigned index, Work work) {
  const auto [worker, queue] = place_of(index);
  if (deadline_ != nullptr) deadline_->begin();
  workers_[worker]->run(queue, work);
  if (deadline_ != nullptr) deadline_->end();
}

void QueueSet::start(unsigned index, vhost::Rings rings, bool event_idx, std::uint16_t next_available,
                     int kick_fd) {
  run(index, [&](ServedQueue& queue, const std::function<void()>& done) {
    queue.start(std::move(rings), event_idx, next_available, kick_fd);
    done();
  });
}

std::uint16_t QueueSet::stop(unsigned index) {
  std::uint16_t next_available = 0;
  run(index, [&](ServedQueue& queue, std::function<void()> done) {
    queue.stop([&next_available, done = std::move(done)](std::uint16_t next) {
      next_available = next;
      done();
    });
  });
  return next_available;
}

void QueueSet::move_to(unsigned index, vhost::Rings rings) {
  run(index, [&](ServedQueue& queue, const std::function<void()>& done) {
    queue.move_to(std::move(rings));
    done();
  });
}

/// Not waited for: a guest masks interrupts at any time, and a directory in place may take long to answer the
/// request that the queue is at, without being gone.
void QueueSet::set_call(unsigned index, UniqueFd call_fd) {
  const auto [worker, queue] = place_of(index);
  // A std::function is copied.
  auto owned = std::make_shared<UniqueFd>(std::move(call_fd));
  workers_[worker]->post(queue, [owned](ServedQueue& served) { served.set_call(std::move(*owned)); });
}

}  // namespace layerboot::vfsd
