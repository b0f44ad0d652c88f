#include "oci-mount/base/worker_pool.h"

#include <signal.h>

namespace layerboot {

WorkerPool::WorkerPool(unsigned thread_count) {
  threads_.reserve(thread_count);
  // Inherited by the workers: signals are for the program's own threads to take.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned i = 0; i < thread_count; ++i) {
    threads_.emplace_back([this] { work_until_stopped(); });
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_arrived_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void WorkerPool::submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() < kMaxQueued && !threads_.empty()) {
      queue_.push_back(std::move(job));
      work_arrived_.notify_one();
      return;
    }
  }
  job();
}

void WorkerPool::work_until_stopped() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_arrived_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace layerboot
