// What both ways of copying share.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <string>

namespace guest_init {

/// Read or written at once.
inline constexpr std::size_t kCopyChunkBytes = 65536;

/// A line on standard error.
inline void complain(const std::string& text) {
  const std::string line = text + "\n";
  [[maybe_unused]] const ssize_t told = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace guest_init
