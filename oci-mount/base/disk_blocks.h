// The unit in which stat(2) and FUSE tell what is allocated, whatever the file system's own blocks are.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace layerboot {

inline constexpr std::uint64_t kStatBlockBytes = 512;

[[nodiscard]] inline std::uint64_t allocated_bytes(const struct stat& st) {
  return static_cast<std::uint64_t>(st.st_blocks) * kStatBlockBytes;
}

}  // namespace layerboot
