// BytesInFlight: a bound on the memory of work that is under way; who finds no room waits for its turn.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>

#include "oci-mount/base/reactor.h"

namespace layerboot {

/// Bytes in use and the most there ever were, over several accounts. Thread-safe.
class ByteMeter {
 public:
  void add(std::uint64_t bytes) {
    const auto now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    auto peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }
  void subtract(std::uint64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> peak_{0};
};

/// Thread-safe. First come, first served: nobody overtakes who waits, so that a large request is not starved
/// by small ones.
///
/// No deadlock, as long as who has a Charge never waits for another one of the same account, nor for somebody
/// who waits for one: then each Charge comes back, and the first in the queue gets its turn.
class BytesInFlight {
 public:
  /// Gives its bytes back when it ends, on any thread.
  class [[nodiscard]] Charge {
   public:
    Charge() = default;
    Charge(Charge&& other) noexcept
        : account_(std::exchange(other.account_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Charge& operator=(Charge&& other) noexcept {
      std::swap(account_, other.account_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    Charge(const Charge&) = delete;
    Charge& operator=(const Charge&) = delete;
    ~Charge() { shrink(0); }

    /// False for one that was refused, has been moved from, or has given all back.
    explicit operator bool() const { return bytes_ != 0; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    /// Gives back all but `bytes`, where it has more.
    void shrink(std::uint64_t bytes);
    /// A part of it, to end on its own. REQUIRES: it has as many.
    Charge split(std::uint64_t bytes) {
      bytes_ -= bytes;
      return {account_, bytes};
    }

   private:
    friend class BytesInFlight;
    Charge(BytesInFlight* account, std::uint64_t bytes) : account_(account), bytes_(bytes) {}

    BytesInFlight* account_ = nullptr;
    std::uint64_t bytes_ = 0;
  };

  /// What is in flight is shown in `meter`, which outlives this.
  BytesInFlight(std::uint64_t capacity_bytes, ByteMeter& meter)
      : capacity_bytes_(capacity_bytes), meter_(meter) {}
  /// REQUIRES: nobody waits, and every Charge has ended.
  ~BytesInFlight() = default;
  BytesInFlight(const BytesInFlight&) = delete;
  BytesInFlight& operator=(const BytesInFlight&) = delete;

  class Acquire;
  /// co_await gives a Charge of `bytes`, on `reactor`'s thread. Who asks for more than the capacity gets all
  /// of it: when nothing else is in flight.
  Acquire acquire(Reactor& reactor, std::uint64_t bytes);
  /// The same without waiting: an empty Charge where there is no room, or somebody waits.
  Charge try_acquire(std::uint64_t bytes);

  [[nodiscard]] std::uint64_t capacity_bytes() const { return capacity_bytes_; }
  [[nodiscard]] std::uint64_t used_bytes() const {
    const std::lock_guard lock(mutex_);
    return used_bytes_;
  }
  [[nodiscard]] std::size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }

 private:
  void release(std::uint64_t bytes);
  [[nodiscard]] bool take_locked(std::uint64_t bytes);

  const std::uint64_t capacity_bytes_;
  ByteMeter& meter_;
  mutable std::mutex mutex_;
  std::uint64_t used_bytes_ = 0;
  std::deque<Acquire*> waiting_;
};

class [[nodiscard]] BytesInFlight::Acquire {
 public:
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> awaiter);
  Charge await_resume() { return {&account_, bytes_}; }

 private:
  friend class BytesInFlight;
  Acquire(BytesInFlight& account, Reactor& reactor, std::uint64_t bytes)
      : account_(account), reactor_(reactor), bytes_(bytes) {}

  BytesInFlight& account_;
  Reactor& reactor_;
  std::uint64_t bytes_;
  std::coroutine_handle<> awaiter_;
};

}  // namespace layerboot
