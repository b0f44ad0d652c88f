// The bits of a mode. Pure.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace layerboot {

/// A mode is a type and permissions, and nothing else.
inline constexpr std::uint32_t kTypeBits = S_IFMT;
inline constexpr std::uint32_t kPermissionBits = 07777;
/// Of the permissions: who may read, write and execute; and what runs as another.
inline constexpr std::uint32_t kAccessBits = 0777;
inline constexpr std::uint32_t kSetIdBits = S_ISUID | S_ISGID;

/// Of what is its owner's alone.
inline constexpr mode_t kPrivateFile = 0600;
inline constexpr mode_t kPrivateDirectory = 0700;

/// IFTODT() of <dirent.h>: DT_* of a mode.
[[nodiscard]] constexpr unsigned char dirent_type(std::uint32_t mode) {
  return static_cast<unsigned char>((mode & kTypeBits) >> 12);
}

}  // namespace layerboot
