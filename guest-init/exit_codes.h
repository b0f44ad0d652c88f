// What a session ends with that is not its program's own exit code: as shells and container engines have it.
#pragma once

namespace guest_init {

inline constexpr int kNotStarted = 125;   // for a reason that is not the program's
inline constexpr int kNotRunnable = 126;  // it is there, and can't be run
inline constexpr int kNotFound = 127;
inline constexpr int kSignalExit = 128;  // and the number of the signal that ended it

}  // namespace guest_init
