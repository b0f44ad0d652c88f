// What guest-init says, and how it ends the machine.
#pragma once

#include <string>
#include <string_view>

namespace guest_init {

/// A line on the console: for what a person must see.
void say(std::string_view text);

/// A line in the kernel's log, at level info: on the console only without `quiet`, in dmesg with its time
/// always.
void note(std::string_view text);

/// Keeps the kernel's log open, for a process whose /dev will be out of reach.
void keep_kernel_log();

/// Says where the boot stopped and why, then powers off: never a hang, never a kernel panic.
[[noreturn]] void stop_boot(std::string_view text);

[[noreturn]] void power_off();
[[noreturn]] void restart();

/// ": No such file or directory" for the current errno.
std::string because();

}  // namespace guest_init
