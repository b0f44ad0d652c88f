// How far another process is with its bytes, for who shows its progress.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace layerboot::launcher {

/// What a process of this user has read, and written, so far, by proc(5): of whatever it has open. 0 where
/// that can't be told.
std::uint64_t bytes_read_by(pid_t pid);
std::uint64_t bytes_written_by(pid_t pid);

}  // namespace layerboot::launcher
