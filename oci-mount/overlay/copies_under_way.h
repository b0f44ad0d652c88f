// Copies under way, one for each lower file: who makes it says when it ends, who needs it waits.
#pragma once

#include <coroutine>
#include <mutex>
#include <utility>
#include <vector>

#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

/// Waits until the copy of a file that another request makes has ended.
class Overlay::CopyUpWait {
 public:
  CopyUpWait(Overlay& overlay, Reactor& reactor, tree::NodeId lower)
      : overlay_(overlay), reactor_(reactor), lower_(lower) {}
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    const std::lock_guard lock(overlay_.mutex_);
    const auto copy = overlay_.copying_.find(lower_);
    if (copy == overlay_.copying_.end()) return false;
    copy->second.waiters.push_back({reactor_, handle});
    return true;
  }
  void await_resume() const noexcept {}

 private:
  Overlay& overlay_;
  Reactor& reactor_;
  tree::NodeId lower_;
};

/// Ends a copy, well or badly, and wakes who waits for it.
class Overlay::CopyUpEnd {
 public:
  CopyUpEnd(Overlay& overlay, tree::NodeId lower) : overlay_(overlay), lower_(lower) {}
  CopyUpEnd(const CopyUpEnd&) = delete;
  CopyUpEnd& operator=(const CopyUpEnd&) = delete;
  ~CopyUpEnd() {
    std::vector<CopyUp::Waiter> waiters;
    {
      const std::lock_guard lock(overlay_.mutex_);
      const auto copy = overlay_.copying_.find(lower_);
      waiters = std::move(copy->second.waiters);
      overlay_.copying_.erase(copy);
    }
    for (const auto& waiter : waiters) {
      waiter.reactor.post([handle = waiter.handle] { handle.resume(); });
    }
  }

 private:
  Overlay& overlay_;
  tree::NodeId lower_;
};

}  // namespace layerboot::overlay
