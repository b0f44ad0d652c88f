// Mounts: the kernel's own file systems, and the root.
#pragma once

#include <string>

#include "guest-init/cmdline.h"

namespace guest_init {

/// Where the root is mounted before it becomes /.
inline constexpr const char* kNewRoot = "/newroot";
/// How long a root device may take to appear: emulated machines under load are slow.
inline constexpr int kRootWaitMs = 15'000;

/// The whole of a small file; empty when it can't be read.
std::string read_text(const std::string& path);

/// Mounts /proc, needed to know what is wanted. Stops the boot when it can't.
void mount_proc();
/// Mounts /sys, /dev and /run. Stops the boot when it can't.
void mount_early();

/// Mounts the root that `options` names on kNewRoot, waiting for its device. Stops the boot when it does not
/// appear.
void mount_root(const BootOptions& options);

}  // namespace guest_init
