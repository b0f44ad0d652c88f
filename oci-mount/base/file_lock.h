// Waiting for a file's lock, so that a signal ends the wait.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot {

/// flock(2), exclusive; says `told` once where somebody else has it. Bare errors, but for
/// check_interrupted()'s. Blocks.
Result<void> wait_for_lock(int fd, std::string_view told);

/// The same for whom it is not worth a longer wait than `bound`, and without a word. False when that is over,
/// and at once for what can't be locked.
bool take_lock_within(int fd, std::chrono::milliseconds bound);

/// One file, on one file system.
[[nodiscard]] bool is_same_file(const struct stat& one, const struct stat& other);

/// Whether `path` leads to the file that is open at `fd`. Who locks by name asks that once the lock is held:
/// meanwhile whoever had it may have removed or renamed the file, or a directory above it.
[[nodiscard]] bool is_still_at(int fd, const std::filesystem::path& path);

}  // namespace layerboot
