// QEMU's command line.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/host/child.h"
#include "launcher/vm/vm_config.h"

namespace layerboot::launcher {

// Sockets that QEMU finds open, connected by us: no path to collide on, no moment in which it could not
// connect.
inline constexpr int kQemuVirtiofsFd = kFirstInheritedFd;  // /dev/null where the root is a disk
inline constexpr int kQemuConsoleFd = kFirstInheritedFd + 1;
inline constexpr int kQemuQmpFd = kFirstInheritedFd + 2;
inline constexpr int kQemuAgentFd = kFirstInheritedFd + 3;
/// One for each volume, and behind them the network's, if it has one.
inline constexpr int kQemuFirstVolumeFd = kFirstInheritedFd + 4;

/// What QMP knows the drive of a guest's own upper by.
inline constexpr std::string_view kUpperDrive = "upper";

/// Pure. `qemu` is argv[0]. kernel_command_line()'s errors.
Result<std::vector<std::string>> qemu_args(const VmConfig& config, const std::filesystem::path& qemu);

/// The value of -netdev for QEMU's own user network, with the published ports.
std::string user_netdev_argument(const VmConfig& config);

/// The VM that tells whether KVM runs a guest: kernel and initrd, the console on descriptor 3 and no other
/// device.
std::vector<std::string> probe_args(const std::filesystem::path& qemu, const std::filesystem::path& vmlinuz,
                                    const std::filesystem::path& initrd);

/// The kernel's command line. E2BIG past what an architecture's kernel keeps of it (2047 bytes of x86);
/// EINVAL for control characters, which a person's own arguments may have.
Result<std::string> kernel_command_line(const VmConfig& config);

}  // namespace layerboot::launcher
