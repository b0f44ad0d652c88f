#include "vfsd/daemon/queue_worker.h"

#include <latch>

namespace layerboot::vfsd {

Result<std::unique_ptr<QueueWorker>> QueueWorker::create(fuse::Session& session, Queues queues,
                                                         MemoryBudget& budget, IoEngine engine) {
  std::unique_ptr<QueueWorker> worker(new QueueWorker);
  std::promise<Result<void>> ready;
  auto outcome = ready.get_future();
  worker->thread_ =
      std::thread([&, made = worker.get()] { made->serve(session, queues, budget, engine, ready); });
  LB_TRY(outcome.get());
  return worker;
}

void QueueWorker::serve(fuse::Session& session, Queues queues, MemoryBudget& budget, IoEngine engine,
                        std::promise<Result<void>>& ready) {
  auto reactor = Reactor::create(engine);
  if (!reactor) return ready.set_value(std::unexpected(reactor.error()));
  reactor_ = std::move(*reactor);
  const auto add = [&](ServedQueue::Replies replies) {
    queues_.push_back(std::make_unique<ServedQueue>(*reactor_, session, replies, budget));
  };
  if (queues == Queues::kHighPriorityToo) add(ServedQueue::Replies::kGathered);
  add(ServedQueue::Replies::kAtOnce);
  reactor_->set_after_batch([this] {
    for (auto& queue : queues_) queue->after_batch();
  });
  ready.set_value({});
  reactor_->run();
}

QueueWorker::~QueueWorker() {
  if (reactor_) reactor_->stop();
  if (thread_.joinable()) thread_.join();
}

void QueueWorker::run(unsigned queue, const std::function<void(ServedQueue&, std::function<void()>)>& work) {
  std::latch done(1);
  reactor_->post([&] { work(*queues_[queue], [&done] { done.count_down(); }); });
  done.wait();
}

void QueueWorker::post(unsigned queue, std::function<void(ServedQueue&)> work) {
  reactor_->post([this, queue, work = std::move(work)] { work(*queues_[queue]); });
}

void QueueWorker::add_counts(fuse::RequestCounts& sum) const {
  for (const auto& queue : queues_) sum.add_all(queue->counts());
}

}  // namespace layerboot::vfsd
