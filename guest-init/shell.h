// A shell for a person on the console, which can be left.
#pragma once

#include <string>

namespace guest_init {

/// Runs `program` as a login session on the console and waits for its end. Meanwhile SIGUSR2 and SIGUSR1
/// (poweroff and halt of busybox) power off and SIGTERM (its reboot) restarts. False when it could not be
/// started.
bool run_shell(const std::string& program);

/// The recovery shell of the initrd. Says how it can be left. False when the initrd holds none, or it did not
/// start, which it says.
[[nodiscard]] bool run_recovery_shell();

}  // namespace guest_init
