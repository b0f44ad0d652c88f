// Whom QEMU becomes when root starts a VM.
#pragma once

#include <string>
#include <vector>

#include "launcher/host/held_user.h"
#include "launcher/vm/vm_config.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Sets `qemu_uid`, `qemu_root` and `qemu_major` of `config` where we are root: an id that nobody has, no
/// process and no other VM either, and an empty directory as the whole of the host that QEMU sees once its
/// files are open. They stay as they are (0 and empty: QEMU goes on as root) where the machine can't have it,
/// which is told in the log: no right to make PID namespaces, as in most containers, ids that are not mapped,
/// or a QEMU of unknown version.
/// REQUIRES: `net` and `machine_id` of `config` are set.
Result<HeldUser> choose_qemu_user(const StateDirs& dirs, const std::filesystem::path& qemu, VmConfig& config);

/// The part of the command line that makes QEMU become that user when its files are open and before the guest
/// runs; empty where it is to stay who it is. Source: QEMU's os_setup_post() (os-posix.c); `-run-with`
/// instead of `-chroot` since 9.0, and of `-runas` since 9.1, which 10.0 does not have.
std::vector<std::string> qemu_user_args(const VmConfig& config);

/// What of the host's QEMU is kept apart from by namespaces, once a user is chosen (ChildSpec::apart_from):
/// IPC and the host's name, and its network, where no card leads there. passt is at the end of a socket.
/// Of these, what this machine lets us make; what it does not is told in the log.
int qemu_apart_from(const VmConfig& config);

}  // namespace layerboot::launcher
