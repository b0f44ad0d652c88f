// WorkerPool: threads for work that burns CPU (decoding), so that a reactor never does.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "oci-mount/base/reactor.h"

namespace layerboot {

class WorkerPool {
 public:
  /// Jobs that may wait for a thread. At the bound a job runs on the thread that brings it: that
  /// slows the source down, which is what a full queue should do.
  static constexpr std::size_t kMaxQueued = 1024;

  /// The threads have every signal blocked. They start with the first job, or with start().
  explicit WorkerPool(unsigned thread_count) : thread_count_(thread_count) {}
  /// Runs what is queued, then joins.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Starts the threads now: for a program that may start none later. They have the rights that the calling
  /// thread has by then. Where the host allows no thread, jobs run on those that bring them. Thread-safe.
  void start();

  /// Runs `job` on a worker. Thread-safe.
  void submit(std::function<void()> job);

  /// co_await pool.run(reactor, work): runs work() on a worker and resumes on `reactor`'s thread.
  template <typename Work>
  auto run(Reactor& reactor, Work work) {
    struct Run {
      WorkerPool& pool;
      Reactor& reactor;
      Work work;

      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> awaiter) {
        pool.submit([this, awaiter] {
          work();
          reactor.post([awaiter] { awaiter.resume(); });
        });
      }
      void await_resume() const noexcept {}
    };
    return Run{*this, reactor, std::move(work)};
  }

 private:
  /// REQUIRES: mutex_ is held.
  void start_locked();
  void work_until_stopped();

  unsigned thread_count_;  // still to start
  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace layerboot
