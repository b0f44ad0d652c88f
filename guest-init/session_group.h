// A control group for each session, beside those of systemd.
//
// systemd moves what guest-init leaves behind into its own init.scope. A session that ran out of memory there
// would be init.scope's failure, whose OOMPolicy= stops the scope: the whole machine. In a group of its own
// it is nobody's failure but its own (systemd.scope(5); systemd, src/core/unit.c: unit_check_oom).
#pragma once

#include <sys/types.h>

namespace guest_init {

/// Moves this process into `layerboot/session-PID` of the guest's hierarchy: of version 2, or systemd's own
/// of version 1. Where there is none (yet), it stays where it is. REQUIRES: the image's root is /.
void enter_session_group();

/// Removes the group of a session whose program was `pid`, unless something that it left behind is in it.
/// `root` is the image's root directory.
void remove_session_group(int root, pid_t pid);

}  // namespace guest_init
