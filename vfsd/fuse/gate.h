// Gate: which requests are at work for the present client, and the wait until none is.
//
// What a client that is gone has asked for must have ended before the next one begins, whichever queue it
// came by: so FUSE_INIT closes the gate. Passing costs two additions to a counter that few threads share.
#pragma once

#include <array>
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>

#include "oci-mount/base/reactor.h"

namespace layerboot::vfsd::fuse {

/// Thread-safe. Outlives every Pass and Closed.
class Gate {
 public:
  /// Held from a request's arrival until it has its reply, and let go of on any thread.
  class [[nodiscard]] Pass {
   public:
    Pass() = default;
    Pass(Pass&& other) noexcept
        : gate_(std::exchange(other.gate_, nullptr)), within_(std::exchange(other.within_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept {
      std::swap(gate_, other.gate_);
      std::swap(within_, other.within_);
      return *this;
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->leave(*within_);
    }
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    friend class Gate;
    Pass(Gate& gate, std::atomic<std::int64_t>& within) : gate_(&gate), within_(&within) {}
    Gate* gate_ = nullptr;
    std::atomic<std::int64_t>* within_ = nullptr;
  };

  /// Empty while somebody closes the gate.
  Pass enter();

  /// Nobody is within, nor comes in, for as long as it lives.
  class [[nodiscard]] Closed {
   public:
    Closed(Closed&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;
    Closed& operator=(Closed&&) = delete;
    ~Closed() {
      if (gate_ != nullptr) gate_->open();
    }

   private:
    friend class Gate;
    explicit Closed(Gate& gate) : gate_(&gate) {}
    Gate* gate_;
  };

  class Close;
  /// co_await gives a Closed, on `reactor`'s thread, when all within have left. From now on nobody enters.
  /// One at a time, in the order in which they came. REQUIRES: who waits has no Pass.
  Close close(Reactor& reactor);

 private:
  /// Threads of queues have one each, as long as there are no more than that.
  static constexpr std::size_t kCounters = 16;
  static constexpr std::size_t kCacheLineBytes = 64;
  struct alignas(kCacheLineBytes) Counter {
    std::atomic<std::int64_t> within = 0;
  };

  void leave(std::atomic<std::int64_t>& within);
  void open();
  /// REQUIRES: mutex_ is held.
  [[nodiscard]] bool may_close() const;
  void let_next_close();

  std::array<Counter, kCounters> counters_;
  std::atomic<std::uint32_t> closers_ = 0;  // who wait, and who has closed it
  std::mutex mutex_;
  bool is_closed_ = false;
  std::deque<Close*> waiting_;  // as many as there are requests at most: each is one
};

class [[nodiscard]] Gate::Close {
 public:
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> awaiter);
  Closed await_resume() { return Closed(gate_); }

 private:
  friend class Gate;
  Close(Gate& gate, Reactor& reactor) : gate_(gate), reactor_(reactor) {}

  Gate& gate_;
  Reactor& reactor_;
  std::coroutine_handle<> awaiter_;
};

}  // namespace layerboot::vfsd::fuse
