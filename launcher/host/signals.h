// The signals whose default is to kill us, and a VM with us, though they say nothing that we would end for.
#pragma once

#include <array>
#include <csignal>

namespace layerboot::launcher {

/// A reader that went away is an error of write(2); the other two mean nothing here.
inline constexpr std::array kIdleSignals = {SIGPIPE, SIGUSR1, SIGUSR2};

/// For this process, at its start.
inline void ignore_idle_signals() {
  for (const int number : kIdleSignals) ::signal(number, SIG_IGN);
}

/// Before another program is executed, which would inherit what is ignored. Async-signal-safe.
inline void restore_idle_signals() {
  for (const int number : kIdleSignals) ::signal(number, SIG_DFL);
}

}  // namespace layerboot::launcher
