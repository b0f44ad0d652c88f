#include "oci-mount/layer/span_cache.h"

#include <utility>

namespace layerboot::layer {

namespace {

/// Spans differ in size, and leave gaps: room for an eighth more than is kept.
std::size_t with_gaps(std::size_t kept_bytes) { return kept_bytes + kept_bytes / 8; }

}  // namespace

DecodedSpan::DecodedSpan(std::shared_ptr<SpanMemory> memory, std::size_t size_bytes,
                         BytesInFlight::Charge charge)
    : memory_(std::move(memory)), data_(memory_->take(size_bytes)), size_bytes_(size_bytes) {
  if (data_ != nullptr) return;
  charge_ = std::move(charge);
  own_ = Buffer(size_bytes);
  data_ = own_.data();
}

DecodedSpan::~DecodedSpan() {
  if (!own_) {
    memory_->give_back(data_, size_bytes_);
    return;
  }
  own_ = Buffer();  // before it is paid for no longer
  if (kept_within_ != nullptr) kept_within_->give_back(size_bytes_);
}

bool DecodedSpan::keep_within(MemoryBudget& budget) {
  if (!own_ || kept_within_ != nullptr) return true;
  if (!budget.try_take(size_bytes_)) return false;
  kept_within_ = &budget;
  charge_.shrink(0);
  return true;
}

SpanCache::SpanCache(MemoryBudget& budget, std::size_t max_bytes)
    : budget_(budget),
      memory_(std::make_shared<SpanMemory>(with_gaps(max_bytes), budget)),
      max_shard_bytes_(max_bytes / kShards) {
  budget_.add(*this);
}
SpanCache::~SpanCache() { budget_.remove(*this); }

SpanCache::Shard& SpanCache::shard(const SpanKey& key) {
  // Neighbouring spans, which are read together, go to different shards.
  return shards_[(key.span + key.layer * 3) % kShards];
}

std::shared_ptr<DecodedSpan> SpanCache::make(std::size_t size_bytes, BytesInFlight::Charge charge) const {
  return std::make_shared<DecodedSpan>(memory_, size_bytes, std::move(charge));
}

SpanPtr SpanCache::find_locked(Shard& shard, const SpanKey& key) {
  const auto found = shard.kept.find(key);
  if (found == shard.kept.end()) return nullptr;
  shard.by_age.splice(shard.by_age.begin(), shard.by_age, found->second);
  return found->second->span;
}

SpanPtr SpanCache::find(const SpanKey& key) {
  Shard& owner = shard(key);
  const std::lock_guard lock(owner.mutex);
  return find_locked(owner, key);
}

bool SpanCache::is_here_or_coming(const SpanKey& key) {
  Shard& owner = shard(key);
  const std::lock_guard lock(owner.mutex);
  return owner.kept.contains(key) || owner.in_flight.contains(key);
}

void SpanCache::drop_oldest_locked(Shard& shard) {
  const Kept& oldest = shard.by_age.back();
  shard.used_bytes -= oldest.span->bytes().size();
  shard.kept.erase(oldest.key);
  shard.by_age.pop_back();
}

void SpanCache::keep_locked(Shard& shard, const SpanKey& key, const std::shared_ptr<DecodedSpan>& span) {
  const std::size_t size_bytes = span->bytes().size();
  if (size_bytes > max_shard_bytes_ || shard.kept.contains(key)) return;
  while (shard.used_bytes + size_bytes > max_shard_bytes_) drop_oldest_locked(shard);
  if (!span->keep_within(budget_)) return;
  shard.by_age.push_front({key, span});
  shard.kept.emplace(key, shard.by_age.begin());
  shard.used_bytes += size_bytes;
}

void SpanCache::let_go(std::uint64_t bytes) {
  std::uint64_t gone_bytes = memory_->trim();
  for (bool any = true; any && gone_bytes < bytes;) {
    any = false;
    for (Shard& one : shards_) {
      const std::lock_guard lock(one.mutex);
      if (one.by_age.empty()) continue;
      any = true;
      const auto& oldest = one.by_age.back().span;
      if (oldest->is_on_its_own()) gone_bytes += oldest->bytes().size();
      drop_oldest_locked(one);
    }
    gone_bytes += memory_->trim();
  }
}

SpanCache::Acquire SpanCache::acquire(Reactor& reactor, const SpanKey& key) { return {*this, reactor, key}; }

bool SpanCache::Acquire::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  Shard& owner = cache_.shard(key_);
  const std::lock_guard lock(owner.mutex);
  if (SpanPtr span = find_locked(owner, key_)) {
    result_ = std::move(span);
    return false;
  }
  const auto [flight, first] = owner.in_flight.try_emplace(key_);
  if (first) return false;
  flight->second.push_back(this);
  return true;
}

bool SpanCache::claim(const SpanKey& key) {
  Shard& owner = shard(key);
  const std::lock_guard lock(owner.mutex);
  return !owner.kept.contains(key) && owner.in_flight.try_emplace(key).second;
}

void SpanCache::finish(const SpanKey& key, const Result<std::shared_ptr<DecodedSpan>>& span) {
  Shard& owner = shard(key);
  std::vector<Acquire*> waiting;
  {
    const std::lock_guard lock(owner.mutex);
    if (const auto flight = owner.in_flight.find(key); flight != owner.in_flight.end()) {
      waiting = std::move(flight->second);
      owner.in_flight.erase(flight);
    }
    if (span) keep_locked(owner, key, *span);
  }
  for (Acquire* const waiter : waiting) {
    // From here on the waiter is its reactor's: it may be gone as soon as the post is made.
    waiter->result_ = span;
    waiter->reactor_.post([handle = waiter->awaiter_] { handle.resume(); });
  }
}

std::size_t SpanCache::used_bytes() const {
  std::size_t total = 0;
  for (const Shard& one : shards_) {
    const std::lock_guard lock(one.mutex);
    total += one.used_bytes;
  }
  return total;
}

}  // namespace layerboot::layer
