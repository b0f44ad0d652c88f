// SessionShares: how the forwarded sockets and ports of a VM share the sessions of its agent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

#include "guest-init/agent_protocol.h"

namespace layerboot::launcher {

/// Anybody on this host may connect to a forwarded port. So all forwards together leave sessions for `exec`,
/// `ssh` and the like, none has more than its bound, and for each that has none a few are left free, as long
/// as there are not too many for that. On one thread.
class SessionShares {
 public:
  static constexpr std::size_t kKeptForOthers = 16;  // for what is no forward
  static constexpr std::size_t kMaxForAll = guest_init::kMaxSessions - kKeptForOthers;
  static constexpr std::size_t kMaxEach = 32;
  static constexpr std::size_t kMaxKeptForEach = 4;

  using Id = std::uint32_t;

  /// A further forward. `there_is_room` is called once after each wait(), when something has ended; it may
  /// call wait() again.
  Id join(std::function<void()> there_is_room);
  /// What it has still counts, for all of them, until that is given back.
  void leave(Id id);

  [[nodiscard]] bool has_room(Id id) const;
  /// REQUIRES: it has joined.
  void wait(Id id);
  void take(Id id);
  void give_back(Id id);
  /// Something has ended: calls whoever waits, each time another one first.
  void call_waiting();

 private:
  struct Share {
    std::function<void()> there_is_room;
    std::size_t used = 0;
    bool waits = false;
  };
  [[nodiscard]] std::size_t kept_for_each() const;

  std::map<Id, Share> shares_;
  Id last_id_ = 0;
  Id last_called_ = 0;
  std::size_t used_ = 0;  // by all, also those that have left
};

}  // namespace layerboot::launcher
