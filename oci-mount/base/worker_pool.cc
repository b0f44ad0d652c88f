#include "oci-mount/base/worker_pool.h"

#include <signal.h>

#include <system_error>

namespace layerboot {

void WorkerPool::start() {
  const std::lock_guard lock(mutex_);
  start_locked();
}

void WorkerPool::start_locked() {
  if (thread_count_ == 0) return;
  threads_.reserve(thread_count_);
  // Inherited by the workers: signals are for the program's own threads to take.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    for (; thread_count_ > 0; --thread_count_) threads_.emplace_back([this] { work_until_stopped(); });
  } catch (const std::system_error&) {
    thread_count_ = 0;  // fewer will do
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
    start_locked();
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
