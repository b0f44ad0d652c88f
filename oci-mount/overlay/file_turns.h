// FileTurns: who may change a file's data beside others, on a host that keeps what is cut off files.
//
// What such a host keeps of a file is told by what the file's blocks have fallen by. So who cuts or replaces
// some is alone with the file (FileState::is_taken); others change it side by side, counted by
// FileState::changing, or by BlocksInUse::relying before. On other hosts nobody is alone, and nobody waits.
//
// Lock rule: all under the Overlay's lock, which the waits take by themselves; nobody has it while waiting.
// Who is alone with a file, or changes it, waits for no turn of any file until it has ended. Who takes a file
// waits for those that change it, and nobody begins meanwhile. So each wait ends. A request pins the Node
// that it waits for; one whose session has ended gets its turn as well, and finds the Node gone.
#pragma once

#include <coroutine>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/task.h"
#include "oci-mount/overlay/node.h"
#include "oci-mount/overlay/overlay_lock.h"

namespace layerboot::overlay {

class FileTurns {
 public:
  /// `mutex` is the Overlay's lock, and outlives it.
  explicit FileTurns(OverlayLock& mutex) : mutex_(mutex) {}
  FileTurns(const FileTurns&) = delete;
  FileTurns& operator=(const FileTurns&) = delete;

  /// A file that its owner is alone with; or none. Ends the turn as it goes, for which it takes the lock.
  class Alone {
   public:
    Alone() = default;
    Alone(Alone&& other) noexcept : turns_(other.turns_), node_(std::exchange(other.node_, nullptr)) {}
    Alone& operator=(Alone&& other) noexcept {
      std::swap(turns_, other.turns_);
      std::swap(node_, other.node_);
      return *this;
    }
    ~Alone();
    [[nodiscard]] bool holds() const { return node_ != nullptr; }
    /// Under the lock, before what it has become is booked.
    void end();

   private:
    friend class FileTurns;
    Alone(FileTurns& turns, NodePtr node) : turns_(&turns), node_(std::move(node)) {}
    FileTurns* turns_ = nullptr;
    NodePtr node_;
  };

  // ---- without the lock
  /// Waits until nobody else changes the file's data.
  Task<Alone> take(Reactor& reactor, NodePtr node);
  /// co_await until(reactor, node, what): it may be otherwise again by then.
  enum class Until { kMayChange, kMayTake };
  class Wait;
  [[nodiscard]] Wait until(Reactor& reactor, const Node& node, Until what);

  // ---- under the lock
  /// Whether a change beside others may begin now; or one that is to be alone, by take_now().
  [[nodiscard]] static bool may_change(const Node& node) { return !node.file.is_taken; }
  [[nodiscard]] static bool may_take(const Node& node) { return !node.file.is_taken && is_unchanged(node); }
  static void take_now(Node& node) { node.file.is_taken = true; }
  void end(Node& node);
  /// A change beside others has ended.
  void end_change(const Node& node) {
    if (!waiters_.empty()) wake(node);
  }

 private:
  friend class Wait;
  struct Waiter {
    Reactor& reactor;
    std::coroutine_handle<> handle;
  };

  [[nodiscard]] static bool is_unchanged(const Node& node) {
    return node.file.changing == 0 && node.file.blocks.relying == 0;
  }
  void wake(const Node& node);

  OverlayLock& mutex_;
  std::unordered_multimap<const Node*, Waiter> waiters_;
};

class FileTurns::Wait {
 public:
  using Holds = bool (*)(const Node&);
  Wait(FileTurns& turns, Reactor& reactor, const Node& node, Holds holds)
      : turns_(turns), reactor_(reactor), node_(node), holds_(holds) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle);
  void await_resume() const noexcept {}

 private:
  FileTurns& turns_;
  Reactor& reactor_;
  const Node& node_;
  Holds holds_;
};

inline FileTurns::Wait FileTurns::until(Reactor& reactor, const Node& node, Until what) {
  return {*this, reactor, node, what == Until::kMayTake ? &may_take : &may_change};
}

}  // namespace layerboot::overlay
