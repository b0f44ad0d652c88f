// Making the file system larger that takes what the guest writes, while it is in use.
#pragma once

#include <cstdint>
#include <string>

namespace guest_init {

/// Makes the file system of the directory `top`, an ext4 or a tmpfs, as large as `wanted_bytes`, or, with 0,
/// an ext4 as large as its device. One that is as large already is left alone; waits a few seconds for a
/// device that is still smaller than wanted. `system`: the directory that has /sys in it. False, with why.
bool grow_file_system(int top, std::uint64_t wanted_bytes, int system, std::string& why);

/// A session that is no program: makes the upper of this guest as large as `wanted_bytes` and ends, with 125
/// and the reason on standard error when that can't be. REQUIRES: a process of its own whose root is the
/// initramfs.
[[noreturn]] void become_growth(std::uint64_t wanted_bytes, int system);

}  // namespace guest_init
