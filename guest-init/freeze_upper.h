// A guest whose files stand still, or are at least all with the host, so that they can be read from outside.
#pragma once

#include <string_view>

namespace guest_init {

/// What the session says, and then waits: the guest's own disk stands still, and who writes to it waits; or
/// the guest has no disk of its own, and what it had written is with the host's daemon.
inline constexpr std::string_view kSaysFrozen = "frozen\n";
inline constexpr std::string_view kSaysSynced = "synced\n";

/// A session that is no program. Says one of the two, waits for its input's end, SIGHUP, SIGINT or SIGTERM,
/// lets the disk go on, and ends with 0; with 125 and the reason on standard error where it can't be.
/// `root`: the image's root directory. REQUIRES: a process of its own whose root is the initramfs.
[[noreturn]] void become_freeze(int root);

}  // namespace guest_init
