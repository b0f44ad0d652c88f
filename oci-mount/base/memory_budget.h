// MemoryBudget: the one number for this process's memory, and who may have how much of it.
//
// The limit is divided so that what waits never waits for what is kept:
//
//   limit = kProgramBytes + spans() + copies() + ranges() + what may be kept
//
// Work in flight takes from an account of its own and waits for others of its kind; a range's copy may need
// another's copy-up, and both a span, never the other way round. What is kept (nodes, names, slots, decoded
// spans) is taken or refused at once; before it is refused, caches are asked to let go.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "oci-mount/base/bytes_in_flight.h"
#include "oci-mount/base/result.h"

namespace layerboot {

/// Thread-safe.
class MemoryBudget {
 public:
  static constexpr std::uint64_t kDefaultLimitBytes = 512U << 20U;
  /// What a program takes before anybody asks it for anything, and for the allocator: code's data, stacks,
  /// the decoders of its threads.
  static constexpr std::uint64_t kProgramBytes = 32U << 20U;
  /// For spans in flight where no single one needs more.
  static constexpr std::uint64_t kSpansBytes = 48U << 20U;
  /// For buffers through which a file's data is copied: when it is changed first, and on the client's word.
  static constexpr std::uint64_t kCopiesBytes = 8U << 20U;
  static constexpr std::uint64_t kRangesBytes = 8U << 20U;
  /// With less to keep, no client could be served.
  static constexpr std::uint64_t kLeastKeptBytes = 16U << 20U;

  /// EINVAL, with the least that will do, where `limit_bytes` is too little for somebody who may need
  /// `largest_span_bytes` at once.
  static Result<void> check(std::uint64_t limit_bytes, std::uint64_t largest_span_bytes);

  /// REQUIRES: check() has been passed.
  explicit MemoryBudget(std::uint64_t limit_bytes = kDefaultLimitBytes, std::uint64_t largest_span_bytes = 0);
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  /// A cache that can do with less.
  class Cache {
   public:
    /// Gives back `bytes` if it has as many. Called on any thread, under whatever lock its caller holds: it
    /// takes none that is held while memory is asked for.
    virtual void let_go(std::uint64_t bytes) = 0;

   protected:
    ~Cache() = default;
  };
  /// `cache` is asked until it is removed.
  void add(Cache& cache);
  void remove(Cache& cache);

  /// False where there is no room: caches are not asked. For caches.
  [[nodiscard]] bool try_take(std::uint64_t bytes);
  /// The same, when caches have let go of what they can. False: the caller's answer is ENOMEM.
  [[nodiscard]] bool take(std::uint64_t bytes);
  /// Also over the limit: for what is bounded otherwise and can't be refused.
  void take_anyway(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);
  /// Whether take() would be true now: for who then has something made that can't be refused any more.
  [[nodiscard]] bool has_room(std::uint64_t bytes) {
    if (kept_bytes_.load(std::memory_order_relaxed) + bytes <= kept_limit_bytes_) return true;
    if (!take(bytes)) return false;
    give_back(bytes);
    return true;
  }

  /// What one object takes, as it grows and shrinks; given back with it. Taken anyway: who makes the object
  /// asks before.
  class Share {
   public:
    explicit Share(MemoryBudget& budget, std::uint64_t bytes = 0) : budget_(budget) { set(bytes); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() { set(0); }
    void set(std::uint64_t bytes) {
      if (bytes > bytes_) budget_.take_anyway(bytes - bytes_);
      if (bytes < bytes_) budget_.give_back(bytes_ - bytes);
      bytes_ = bytes;
    }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

   private:
    MemoryBudget& budget_;
    std::uint64_t bytes_ = 0;
  };

  [[nodiscard]] BytesInFlight& spans() { return spans_; }
  [[nodiscard]] BytesInFlight& copies() { return copies_; }
  [[nodiscard]] BytesInFlight& ranges() { return ranges_; }

  [[nodiscard]] std::uint64_t limit_bytes() const { return limit_bytes_; }
  /// With the program's own, and all that is in flight.
  [[nodiscard]] std::uint64_t used_bytes() const { return meter_.used(); }
  [[nodiscard]] std::uint64_t peak_bytes() const { return meter_.peak(); }

 private:
  const std::uint64_t limit_bytes_;
  ByteMeter meter_;
  BytesInFlight spans_;
  BytesInFlight copies_;
  BytesInFlight ranges_;
  const std::uint64_t kept_limit_bytes_;
  std::atomic<std::uint64_t> kept_bytes_{0};

  std::mutex caches_mutex_;
  std::vector<Cache*> caches_;
};

}  // namespace layerboot
