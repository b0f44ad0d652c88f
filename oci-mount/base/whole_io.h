// Reads and writes by a ring that go on where a short one ended.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"

namespace layerboot {

/// Fills `into` from `offset` of `fd`, which stays open meanwhile as the memory stays there. Returns how many
/// bytes those were: fewer only where the file ends first.
Task<Result<std::size_t>> read_whole(Reactor& reactor, int fd, std::span<const iovec> into,
                                     std::uint64_t offset);

/// Writes `from` at `offset`. Returns how many bytes were written, as write(2) does: where it fails after the
/// first, a count and no error.
Task<Result<std::size_t>> write_whole(Reactor& reactor, int fd, std::span<const iovec> from,
                                      std::uint64_t offset);

}  // namespace layerboot
