// SpanCache: decoded spans in memory, shared by everything that reads layers.
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/buffer.h"
#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/span_memory.h"

namespace layerboot::layer {

struct SpanKey {
  std::uint64_t layer = 0;  // Layer::number()
  std::uint32_t span = 0;

  friend bool operator==(const SpanKey&, const SpanKey&) = default;
};

/// A span's uncompressed bytes.
class DecodedSpan {
 public:
  /// In `memory` where it has room, else on its own, and then `charge` is for that; `memory` pays for its.
  DecodedSpan(std::shared_ptr<SpanMemory> memory, std::size_t size_bytes, BytesInFlight::Charge charge);
  ~DecodedSpan();
  DecodedSpan(const DecodedSpan&) = delete;
  DecodedSpan& operator=(const DecodedSpan&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() { return {data_, size_bytes_}; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

  /// Not in SpanMemory.
  [[nodiscard]] bool is_on_its_own() const { return static_cast<bool>(own_); }
  /// From here on it is no longer in flight but kept, for as long as it lives. False where `budget` has no
  /// room for that.
  [[nodiscard]] bool keep_within(MemoryBudget& budget);

 private:
  std::shared_ptr<SpanMemory> memory_;
  BytesInFlight::Charge charge_;  // empty where the bytes are in memory_
  MemoryBudget* kept_within_ = nullptr;
  Buffer own_;  // empty where the bytes are in memory_
  std::byte* data_;
  std::size_t size_bytes_;
};
using SpanPtr = std::shared_ptr<const DecodedSpan>;

/// Thread-safe. Least recently used spans go first. Of several who want a span that is not here, one
/// is told to make it (single flight) and the others wait for it, each resumed on its own reactor. The
/// budget's room is for others first: what it has none for is handed out but not kept, and what is kept goes
/// when it is wanted.
class SpanCache final : private MemoryBudget::Cache {
 public:
  static constexpr std::size_t kDefaultBytes = 64U << 20U;
  static constexpr std::size_t kShards = 8;

  /// `max_bytes` bounds what the cache itself holds on to; a span over max_bytes / kShards is handed out but
  /// not kept. `budget` outlives the cache and all spans.
  explicit SpanCache(MemoryBudget& budget, std::size_t max_bytes = kDefaultBytes);
  ~SpanCache();
  SpanCache(const SpanCache&) = delete;
  SpanCache& operator=(const SpanCache&) = delete;

  [[nodiscard]] MemoryBudget& budget() const { return budget_; }

  /// A span to be filled and given to finish(). `charge` pays for it where the cache's own memory has no
  /// room.
  [[nodiscard]] std::shared_ptr<DecodedSpan> make(std::size_t size_bytes, BytesInFlight::Charge charge) const;

  /// The span, or null. Does not allocate or wait.
  SpanPtr find(const SpanKey& key);

  /// Whether find() would find it, or somebody makes it. Leaves its age as it is.
  [[nodiscard]] bool is_here_or_coming(const SpanKey& key);

  class Acquire;
  /// co_await gives a Result<SpanPtr>: the span; the error of who made it; or null, the order to make it:
  /// who gets that must call finish(key, …) in the end.
  Acquire acquire(Reactor& reactor, const SpanKey& key);
  /// The order to make the span, as acquire() gives it, where nobody has it and it is not here; else false.
  /// Never waits.
  bool claim(const SpanKey& key);
  /// Ends what acquire() or claim() began: keeps the span, and resumes who waits, with the span or the error.
  void finish(const SpanKey& key, const Result<std::shared_ptr<DecodedSpan>>& span);

  [[nodiscard]] std::size_t used_bytes() const;

 private:
  struct KeyHash {
    std::size_t operator()(const SpanKey& key) const {
      return static_cast<std::size_t>((key.layer * 0x9E3779B97F4A7C15ULL) ^
                                      (key.span * 0xC2B2AE3D27D4EB4FULL));
    }
  };
  struct Kept {
    SpanKey key;
    SpanPtr span;
  };
  struct Shard {
    mutable std::mutex mutex;
    std::list<Kept> by_age;  // latest used first
    std::unordered_map<SpanKey, std::list<Kept>::iterator, KeyHash> kept;
    std::unordered_map<SpanKey, std::vector<Acquire*>, KeyHash> in_flight;
    std::size_t used_bytes = 0;
  };

  Shard& shard(const SpanKey& key);
  static SpanPtr find_locked(Shard& shard, const SpanKey& key);
  void keep_locked(Shard& shard, const SpanKey& key, const std::shared_ptr<DecodedSpan>& span);
  static void drop_oldest_locked(Shard& shard);
  void let_go(std::uint64_t bytes) override;

  MemoryBudget& budget_;
  std::shared_ptr<SpanMemory> memory_;
  std::size_t max_shard_bytes_;
  std::array<Shard, kShards> shards_;
};

class [[nodiscard]] SpanCache::Acquire {
 public:
  Acquire(SpanCache& cache, Reactor& reactor, const SpanKey& key)
      : cache_(cache), reactor_(reactor), key_(key) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> awaiter);
  Result<SpanPtr> await_resume() { return std::move(result_); }

 private:
  friend class SpanCache;

  SpanCache& cache_;
  Reactor& reactor_;
  SpanKey key_;
  std::coroutine_handle<> awaiter_;
  Result<SpanPtr> result_ = SpanPtr();
};

}  // namespace layerboot::layer
