// SideThread: one thread that does jobs in their order, beside the one that brings them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace layerboot::layer {

/// Used by one thread, beside its own.
class SideThread {
 public:
  /// Jobs that may wait; at the bound submit() waits.
  static constexpr std::size_t kMaxQueued = 32;

  SideThread();
  /// Drops the jobs that have not begun.
  ~SideThread();
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;

  void submit(std::function<void()> job);
  /// Waits until every job is done.
  void drain();

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool working_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace layerboot::layer
