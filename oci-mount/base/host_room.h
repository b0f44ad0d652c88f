// What is kept of an image beside it (a layer cut anew, an archive unpacked) leaves the host some room.
#pragma once

#include <cstdint>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot {

/// Nothing of ours that could be done without takes a file system's last bytes.
inline constexpr std::uint64_t kMinHostRoomBytes = 64U << 20U;
/// How much may be written from one look to the next.
inline constexpr std::uint64_t kHostRoomStepBytes = 16U << 20U;

/// ENOSPC where the file system that `fd` is on has fewer than kMinHostRoomBytes left; the error says how
/// many it has. The file's directory is named by who asks.
Result<void> check_host_room(int fd);

}  // namespace layerboot
