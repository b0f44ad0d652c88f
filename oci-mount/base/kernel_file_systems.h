// File systems whose files are the kernel's own words and switches: proc, sysfs and their like.
//
// What is data anywhere else is power there: who writes /proc/PID/mem writes that process's memory, whatever
// its pages allow (proc(5)), and who writes /proc/sys/kernel/core_pattern runs programs as the host's root.
#pragma once

#include <string_view>

namespace layerboot {

/// By its name in /proc/PID/mountinfo: "proc".
[[nodiscard]] bool is_kernel_file_system(std::string_view type);

/// Whether `fd` (O_PATH will do) is open on one (statfs(2), f_type). What does not tell is none: all of these
/// answer by themselves (simple_statfs() in fs/libfs.c), as a network's file system may not.
[[nodiscard]] bool is_on_kernel_file_system(int fd);

}  // namespace layerboot
