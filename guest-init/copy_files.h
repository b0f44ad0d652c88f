// Copies files between the guest and the host, as a tar stream on standard output or input.
#pragma once

#include "guest-init/workload.h"

namespace guest_init {

inline constexpr int kNothingCopied = 2;

// In a process of their own whose root directory is the image's. Each gives what it is to end with: 0, or 1
// when something could not be copied, which has been said on standard error. docker-cp(1)'s rules for what
// `path` means; kNothingCopied when it is not there, or not what was asked for. Neither contents of /proc and
// /sys nor sockets are copied; of hard links each is a file.

/// Writes what is at the request's path, under its name.
int copy_out(const CopyRequest& request);

/// Puts what comes to the request's path. The stream is read to its end in any case.
int copy_in(const CopyRequest& request);

}  // namespace guest_init
