// Mounts: the kernel's own file systems, and the root.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

/// Where the root is mounted before it becomes /.
inline constexpr const char* kNewRoot = "/newroot";
/// How long a device may take to appear: emulated machines under load are slow.
inline constexpr int kDeviceWaitMs = 15'000;

/// Tries `attempt` until it is true, as long as `may_come` says of its errno that the device may still
/// appear, and for kDeviceWaitMs at most. False with the last errno. Past two seconds the person at the
/// console is told what is waited for, once.
bool try_until_there(const std::string& what, const std::function<bool()>& attempt,
                     bool (*may_come)(int error));

/// Mounts /proc, needed to know what is wanted. Stops the boot when it can't.
void mount_proc();
/// Mounts /sys, /dev and /run. Stops the boot when it can't.
void mount_early();

struct MountPlan {
  std::string source;  // a virtiofs tag, a device, UUID= or LABEL=
  const char* where = kNewRoot;
  std::string type;
  unsigned long flags = 0;  // of mount(2)
  std::string data;
  std::string what;  // for messages: "the root"
};

/// Mounts it, waiting for its device. A disk is checked first where the initrd has an e2fsck and the mount
/// may write, and otherwise left to its journal. False with errno.
bool mount_when_there(const MountPlan& plan);
/// The same. Stops the boot when it can't.
void mount_waiting(const MountPlan& plan);

/// Mounts the root that `options` names on kNewRoot, by mount_waiting().
void mount_root(const BootOptions& options);

/// Mounts the further virtiofs shares and the tmpfs ("PATH:OPTIONS" each, tmpfs_options.h), making their
/// directories, one inside another after that one (mount_order.h). What can't be mounted is told of and left
/// out. REQUIRES: / is the image's root.
void mount_into_root(const std::vector<Share>& shares, const std::vector<std::string>& tmpfs);

}  // namespace guest_init
