// Files of an image as a machine needs them. Pure: each takes a file's text and gives another.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

/// An /etc/fstab that was another machine's: entries whose device this one does not have are nobody's to wait
/// for. They get `nofail` and a short time-out (systemd.mount(5)), swap as well. The root's, whose options
/// inits apply to what is mounted, keeps those that every file system takes, names what is mounted, and is
/// not to be checked. `known` is asked for UUID=, LABEL=, PARTUUID=, PARTLABEL= and /dev/ names; `changed`
/// gets the devices.
[[nodiscard]] std::string lenient_fstab(std::string_view text,
                                        const std::function<bool(const std::string&)>& known,
                                        std::vector<std::string>& changed);

/// An /etc/inittab with a getty on kSerialConsole, if none of its lines has one: as busybox's init has its
/// lines, or sysvinit's. `program` is the getty's path.
[[nodiscard]] std::string with_serial_getty(std::string_view inittab, bool busybox, std::string_view program,
                                            bool autologin);

/// An /etc/shadow, or /etc/passwd, whose user root has this hash. Empty when there is no root in it.
[[nodiscard]] std::string with_root_password(std::string_view text, std::string_view hash);

}  // namespace guest_init
