#include "vfsd/daemon/served_queue.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot::vfsd {

namespace {

/// What a slot holds on to from one request to the next: enough for all but SETXATTR of much, and for 1 MiB
/// in scattered pages. With kSlotBytes of room for Tasks beside it.
constexpr std::size_t kKeptBodyBytes = 4U << 10;
constexpr std::size_t kKeptSlices = 272;
static_assert(kKeptBodyBytes + 3 * kKeptSlices * sizeof(iovec) < ServedQueue::kSlotBytes * 3 / 4);

template <typename T>
std::size_t bytes_beyond(const std::vector<T>& vector, std::size_t kept) {
  return vector.capacity() > kept ? (vector.capacity() - kept) * sizeof(T) : 0;
}

template <typename T>
void let_go_beyond(std::vector<T>& vector, std::size_t kept) {
  if (vector.capacity() > kept) vector = {};
}

}  // namespace

/// One request in work, with its working memory.
struct ServedQueue::Slot final : fuse::Exchange {
  explicit Slot(ServedQueue& queue_in) : queue(queue_in) {}

  [[nodiscard]] std::span<const iovec> readable() const override { return chain.readable; }
  [[nodiscard]] std::span<const iovec> writable() const override { return chain.writable; }
  void complete(std::size_t reply_bytes) override { queue.finish(*this, reply_bytes); }

  [[nodiscard]] std::size_t bytes_beyond_kept() const {
    return bytes_beyond(body, kKeptBodyBytes) + bytes_beyond(data, kKeptSlices) +
           bytes_beyond(chain.readable, kKeptSlices) + bytes_beyond(chain.writable, kKeptSlices);
  }
  void let_go_beyond_kept() {
    let_go_beyond(body, kKeptBodyBytes);
    let_go_beyond(data, kKeptSlices);
    let_go_beyond(chain.readable, kKeptSlices);
    let_go_beyond(chain.writable, kKeptSlices);
  }

  ServedQueue& queue;
  bool in_work = false;
  std::size_t large_bytes = 0;  // of the queue's
  vhost::Chain chain;
  std::shared_ptr<const vhost::GuestMemory> memory;  // keeps the iovecs mapped
};

ServedQueue::ServedQueue(Reactor& reactor, fuse::Session& session, Replies replies, MemoryBudget& budget)
    : reactor_(reactor), session_(session), replies_(replies), budget_(budget) {}

ServedQueue::~ServedQueue() { budget_.give_back(slots_.size() * kSlotBytes); }

void ServedQueue::start(vhost::Rings rings, bool event_idx, std::uint16_t next_available, int kick_fd) {
  virtqueue_.emplace(std::move(rings), event_idx, next_available);
  broken_ = false;
  kick_fd_ = kick_fd;
  ::fcntl(kick_fd, F_SETFL, ::fcntl(kick_fd, F_GETFL) | O_NONBLOCK);
  // The count is never read: each kick wakes the watch anew, and a system call for each batch is saved.
  reactor_.watch(kick_fd, [this] { take_requests(); });
  take_requests();  // what came while nobody served the queue
}

void ServedQueue::stop(std::function<void(std::uint16_t)> stopped) {
  if (!virtqueue_) return stopped(0);
  reactor_.unwatch(kick_fd_);
  wants_more_ = false;
  stopped_ = std::move(stopped);
}

void ServedQueue::move_to(vhost::Rings rings) {
  if (virtqueue_) virtqueue_->move_to(std::move(rings));
  let_go_of_memory();
}

void ServedQueue::set_call(UniqueFd call_fd) {
  call_ = std::move(call_fd);
  if (virtqueue_) tell_guest();
}

void ServedQueue::take_requests() {
  if (!virtqueue_ || stopped_ || broken_) return;
  wants_more_ = false;
  virtqueue_->disable_kicks();
  for (unsigned taken = 0; taken < kMaxBatch;) {
    const Took took = take_one();
    if (took == Took::kHeldUp) return;
    if (took == Took::kOne) {
      ++taken;
    } else if (!more_arrives()) {
      if (!virtqueue_->enable_kicks()) return;
      virtqueue_->disable_kicks();
    }
  }
  wants_more_ = true;
  reactor_.post([] {});  // the hook after that batch goes on
}

ServedQueue::Slot* ServedQueue::free_slot() {
  if (free_.empty()) {
    if (slots_.size() == kMaxInFlight) return nullptr;
    if (slots_.size() < kFreeSlots) {
      budget_.take_anyway(kSlotBytes);
    } else if (!budget_.take(kSlotBytes)) {
      return nullptr;
    }
    slots_.push_back(std::make_unique<Slot>(*this));
    free_.reserve(kMaxInFlight);
    free_.push_back(slots_.back().get());
  }
  return free_.back();
}

bool ServedQueue::more_arrives() {
  if (replies_ == Replies::kGathered) return false;  // nobody waits: not worth looking for
  if (free_.size() != slots_.size()) return false;   // what is in flight needs the reactor
  publish();
  return idle_poll_.wait([this] { return virtqueue_->has_waiting(); });
}

ServedQueue::Took ServedQueue::take_one() {
  Slot* slot = large_bytes_ < kMaxLargeBytes ? free_slot() : nullptr;
  if (slot == nullptr) {
    wants_more_ = true;  // the batch in which a request ends goes on
    return Took::kHeldUp;
  }
  Error why;
  const auto popped = virtqueue_->pop(slot->chain, &why);
  if (!popped) {
    breaks_.warn(popped.error().describe(), "; the queue is not served until the guest restarts it");
    broken_ = true;
    return Took::kHeldUp;
  }
  if (*popped == vhost::Virtqueue::Pop::kEmpty) return Took::kNone;
  if (*popped == vhost::Virtqueue::Pop::kBadChain) {
    log_debug(why.describe());
    virtqueue_->push(slot->chain.head, 0);
    return Took::kOne;
  }
  free_.pop_back();
  if (slot->memory != virtqueue_->memory()) slot->memory = virtqueue_->memory();
  slot->in_work = true;
  session_.handle(reactor_, *slot);
  if (slot->in_work) {
    slot->large_bytes = slot->bytes_beyond_kept();
    large_bytes_ += slot->large_bytes;
  }
  counts_.add(slot->header.opcode);  // stays in the slot even when the request is done
  return Took::kOne;
}

void ServedQueue::finish(Slot& slot, std::size_t reply_bytes) {
  virtqueue_->push(slot.chain.head, static_cast<std::uint32_t>(reply_bytes));
  slot.in_work = false;
  // What the client has removed meanwhile stays mapped as long as anybody has it.
  if (slot.memory != virtqueue_->memory()) slot.memory.reset();
  large_bytes_ -= std::exchange(slot.large_bytes, 0);
  slot.let_go_beyond_kept();
  free_.push_back(&slot);
  unpublished_bytes_ += reply_bytes;
  if (unpublished_bytes_ >= kEarlyPublishBytes) publish();
}

void ServedQueue::publish() {
  unpublished_bytes_ = 0;
  if (virtqueue_->unpublished() > 0 && virtqueue_->publish()) tell_guest();
}

/// An interrupt costs a guest far more than a FORGET does: one for many.
void ServedQueue::publish_later() {
  if (virtqueue_->unpublished() >= kMaxGathered) return publish();
  if (virtqueue_->unpublished() == 0 || publish_is_due_) return;
  publish_is_due_ = true;
  reactor_.call_after(kGatherTime, [this] {
    publish_is_due_ = false;
    if (virtqueue_) publish();
  });
}

void ServedQueue::shrink_later() {
  if (shrink_is_due_ || slots_.size() <= kIdleSlots || free_.size() != slots_.size()) return;
  shrink_is_due_ = true;
  reactor_.call_after(kIdleTime, [this] {
    shrink_is_due_ = false;
    if (free_.size() == slots_.size()) shrink();
  });
}

void ServedQueue::shrink() {
  if (slots_.size() <= kIdleSlots) return;
  budget_.give_back((slots_.size() - kIdleSlots) * kSlotBytes);
  slots_.resize(kIdleSlots);
  free_.clear();
  for (const auto& slot : slots_) free_.push_back(slot.get());
}

void ServedQueue::let_go_of_memory() {
  for (Slot* const slot : free_) slot->memory.reset();
}

void ServedQueue::tell_guest() {
  if (call_) ::eventfd_write(call_.get(), 1);
}

void ServedQueue::after_batch() {
  if (!virtqueue_) return;
  if (wants_more_ && (!free_.empty() || slots_.size() < kMaxInFlight)) take_requests();
  shrink_later();
  if (replies_ == Replies::kGathered && !stopped_) {
    publish_later();
  } else {
    publish();
  }
  if (!stopped_ || free_.size() != slots_.size()) return;
  const auto next_available = virtqueue_->next_available();
  virtqueue_.reset();
  let_go_of_memory();
  std::exchange(stopped_, nullptr)(next_available);
}

}  // namespace layerboot::vfsd
