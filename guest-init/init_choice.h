// Which program becomes PID 1 after us.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/agent_protocol.h"
#include "guest-init/cmdline.h"

namespace guest_init {

/// What images made for qemu-minivm have in place of an init: a script that its init runs on the console, and
/// what acpid runs there at the power button.
inline constexpr const char* kOwnInitScript = "/etc/init.sh";
inline constexpr const char* kOwnPowerScript = "/etc/acpi/PWRF/00000080";

/// Where images keep their init, best first.
inline constexpr std::array kInitPaths = {"/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd",
                                          "/bin/init"};

/// Whether `path` names a shell (sh, bash, /usr/bin/zsh, …): one that a person leaves again, so that it must
/// not be PID 1.
[[nodiscard]] bool is_shell(std::string_view path);

/// The path out of the directory `new_root` that `path` means in it: symbolic links are followed inside of
/// it, as after chroot. Empty when that is not an executable file, or when there are more than 40 links.
[[nodiscard]] std::string resolve_program(const std::string& new_root, std::string_view path);

/// The image's own path of its init: the first of kInitPaths that is a program in `new_root`. Empty when none
/// is.
[[nodiscard]] std::string find_init(const std::string& new_root);

/// Whether `path` leads to systemd in `new_root`, by whatever links.
[[nodiscard]] bool is_systemd(const std::string& new_root, std::string_view path);

/// Whether the directory `root` has a D-Bus of either kind, without which logind hears nothing.
[[nodiscard]] bool has_message_bus(int root);

/// Whether the image's init or guest-init is to be PID 1. `command`: the image's own. `systemd`: it is the
/// image's /sbin/init. `has_init`: one of kInitPaths is there. A busybox or sysvinit at /sbin/init alone does
/// not make an image boot: many images have one that never ran.
[[nodiscard]] GuestKind choose_kind(RunChoice wanted, const std::vector<std::string>& command, bool systemd,
                                    bool has_init);

}  // namespace guest_init
