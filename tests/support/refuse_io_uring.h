// A host that refuses io_uring, as the default seccomp profiles of Docker and containerd do.
#pragma once

namespace layerboot::test {

/// From here on the calling thread, and what it starts, gets `code` from each of io_uring's calls: EPERM,
/// ENOSYS … Other threads do not, and nothing undoes it. False where this host takes no filter.
bool refuse_io_uring(int code);

}  // namespace layerboot::test
