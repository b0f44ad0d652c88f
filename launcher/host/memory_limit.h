// What this process's control group allows.
#pragma once

#include <cstdint>
#include <optional>

namespace layerboot::launcher {

/// Of memory, in bytes, as seen from within a container (control groups of either version at /sys/fs/cgroup);
/// none where there is no limit, or none can be seen.
std::optional<std::uint64_t> memory_limit_bytes();

}  // namespace layerboot::launcher
