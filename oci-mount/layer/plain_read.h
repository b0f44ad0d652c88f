// Reading a plain tar without waiting: what the page cache holds, by one system call.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace layerboot::layer {

/// True when all `wanted` bytes of `into` were filled from `fd` at `offset` without waiting. False for fd -1
/// too.
bool read_plain_now(int fd, std::uint64_t offset, std::span<const iovec> into, std::size_t wanted);

}  // namespace layerboot::layer
