// What this process's control group allows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace layerboot::launcher {

/// Of memory, in bytes, as seen from within a container (control groups of either version at /sys/fs/cgroup);
/// none where there is no limit, or none can be seen.
std::optional<std::uint64_t> memory_limit_bytes();

/// The least limit of the group that this process is in and of those above it, as far as they can be seen.
/// The paths are for tests.
std::optional<std::uint64_t> own_group_limit_bytes(const std::filesystem::path& mounts = "/sys/fs/cgroup",
                                                   const std::filesystem::path& own = "/proc/self/cgroup");

}  // namespace layerboot::launcher
