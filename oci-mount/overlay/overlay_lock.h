// OverlayLock: the one lock of a writable union, and how a request lets go of it while the host works.
//
// Who holds it whole has everything to itself. Making and removing a name takes the host most of such a
// request's time, and the host does that in several directories at once; so a request may claim one
// directory, let go of the lock while the host makes or removes a name there, and take it again to note what
// became of it. Meanwhile the directory's names are nobody else's:
//
//   - Who takes the whole lock waits until nothing is claimed, and new claims wait for it in turn.
//   - Who takes a part (PartLock) may run beside claims. It looks at no name of a claimed directory, and
//     otherwise at nothing but Nodes that it found by their number.
//
// Descriptors whose last user lets go under the lock are closed after it: where that frees a file, the host
// may need long for it. A directory's names are freed after it as well.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "oci-mount/overlay/fd_cache.h"

namespace layerboot::overlay {

struct Node;

class OverlayLock {
 public:
  OverlayLock() = default;
  OverlayLock(const OverlayLock&) = delete;
  OverlayLock& operator=(const OverlayLock&) = delete;

  /// The whole lock; with unlock(), for std::lock_guard.
  void lock();
  void unlock();

  /// For who has just let go of the lock and is going to take it again, after one of many pieces of work:
  /// those who wait for it get it first, where they come to it within a few moments.
  void give_way();

  /// What is put there under the lock, whole or in part, ends after it.
  [[nodiscard]] Closing& closing() { return closing_; }

 private:
  friend class PartLock;

  void lock_mutex();
  void wait();
  [[nodiscard]] bool is_to_wake();

  std::mutex mutex_;
  std::atomic<std::uint32_t> contenders_ = 0;   // who waits for mutex_, asleep
  std::atomic<std::uint32_t> handed_over_ = 0;  // to these, so far
  std::atomic<std::size_t> woken_ = 0;          // of those who wait for changed_: still to come to mutex_
  std::condition_variable changed_;  // a claim was given back, or nobody waits for the whole lock any more
  std::size_t claims_ = 0;
  std::size_t waiting_ = 0;            // for changed_
  std::size_t waiting_for_whole_ = 0;  // of these
  Closing closing_;
};

/// A part of the lock, for as long as it lives.
class PartLock {
 public:
  explicit PartLock(OverlayLock& lock) : lock_(lock) { lock_.lock_mutex(); }
  PartLock(const PartLock&) = delete;
  PartLock& operator=(const PartLock&) = delete;
  ~PartLock() { lock_.unlock(); }

  /// True at once where names of `directory` may be looked at; for a request that is going to claim it, only
  /// where nobody waits for the whole lock. False after waiting: what was looked at before may have changed.
  enum class For { kLooking, kClaiming };
  [[nodiscard]] bool may_use(const Node& directory, For what);

  /// Calls `work` without the lock, and with `directory` claimed. REQUIRES: may_use() for claiming was true,
  /// and the caller keeps the Node pinned.
  template <typename Work>
  auto with_claim(Node& directory, Work work) {
    const Claim claim(*this, directory);
    return work();
  }

  /// Calls `work` without the lock. What was looked at before may have changed: the caller keeps pinned what
  /// it goes on with.
  template <typename Work>
  auto beside_others(Work work) {
    const Pause pause(lock_);
    return work();
  }

 private:
  class Pause {
   public:
    explicit Pause(OverlayLock& lock) : lock_(lock) { lock_.unlock(); }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
    ~Pause() { lock_.lock_mutex(); }

   private:
    OverlayLock& lock_;
  };
  class Claim {
   public:
    Claim(PartLock& lock, Node& directory) : lock_(lock), directory_(directory) {
      lock_.begin_claim(directory_);
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { lock_.end_claim(directory_); }

   private:
    PartLock& lock_;
    Node& directory_;
  };
  void begin_claim(Node& directory);
  void end_claim(Node& directory);

  OverlayLock& lock_;
};

}  // namespace layerboot::overlay
