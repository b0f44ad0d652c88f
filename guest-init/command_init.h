// PID 1 of an image that has no init: guest-init stays.
#pragma once

#include <sys/types.h>

namespace guest_init {

/// Mounts what programs expect of a running system (/dev/pts, /dev/shm, cgroups, …), sets the host name.
/// REQUIRES: / is the image's root, with /proc, /sys, /dev and /run in place.
void prepare_system(bool cgroup_v1);

/// PID 1's life: reaps orphans, hands signals that ask for an end on to the agent, which runs the image's
/// command, and when that is over ends every process, unmounts, and powers off.
[[noreturn]] void serve_as_init(pid_t agent);

}  // namespace guest_init
