// A getty on the console for inits that start one only by files of the image's: OpenRC's own init, runit.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

/// Whether the init at `path`, in the image whose root directory `root` is, needs one: it reads no inittab,
/// and none of its services is about the serial line.
[[nodiscard]] bool needs_getty_keeper(int root, std::string_view path);

/// What to run for a prompt on `console` (serial_console.h), of what the image has; empty: it has nothing.
[[nodiscard]] std::vector<std::string> getty_words(int root, std::string_view console, bool autologin);

/// Forks a process that keeps a getty on the console until the init ends all processes, and returns.
/// `autologin`: root is logged in. REQUIRES: / is the image's root.
void keep_getty(bool autologin);

}  // namespace guest_init
