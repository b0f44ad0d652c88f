#include "vfsd/daemon/queue_worker.h"

#include <latch>

namespace layerboot::vfsd {

Result<std::unique_ptr<QueueWorker>> QueueWorker::create(fuse::Session& session, Queues queues) {
  LB_ASSIGN(auto reactor, Reactor::create());
  std::unique_ptr<QueueWorker> worker(new QueueWorker(std::move(reactor)));
  const auto add = [&](ServedQueue::Replies replies) {
    worker->queues_.push_back(std::make_unique<ServedQueue>(*worker->reactor_, session, replies));
  };
  if (queues == Queues::kHighPriorityToo) add(ServedQueue::Replies::kGathered);
  add(ServedQueue::Replies::kAtOnce);
  worker->reactor_->set_after_batch([queues = &worker->queues_] {
    for (auto& queue : *queues) queue->after_batch();
  });
  worker->thread_ = std::thread([reactor_in = worker->reactor_.get()] { reactor_in->run(); });
  return worker;
}

QueueWorker::~QueueWorker() {
  if (!thread_.joinable()) return;
  reactor_->stop();
  thread_.join();
}

void QueueWorker::run(unsigned queue, const std::function<void(ServedQueue&, std::function<void()>)>& work) {
  std::latch done(1);
  reactor_->post([&] { work(*queues_[queue], [&done] { done.count_down(); }); });
  done.wait();
}

void QueueWorker::add_counts(fuse::RequestCounts& sum) const {
  for (const auto& queue : queues_) sum.add_all(queue->counts());
}

}  // namespace layerboot::vfsd
