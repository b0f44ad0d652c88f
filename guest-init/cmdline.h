// The kernel's command line, as far as guest-init heeds it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

/// What the person at the launcher wants of this boot. Parameters not listed here are the kernel's or init's
/// own.
struct BootOptions {
  std::string root = "root";           // root=       the virtiofs tag, or a block device's path
  std::string root_type = "virtiofs";  // rootfstype= ext4 when it is left out and root= begins with /dev/
  std::string root_flags;              // rootflags=  given to mount(2)
  bool read_only = false;              // ro, rw: the last one counts
  std::string init;                    // init=       empty: look for the image's own
  std::vector<std::string> init_arguments;  // what follows `--`
  bool single = false;                      // single: a shell before the root is mounted
  bool probe = false;                       // layerboot.probe: say that we run, and power off
};

/// Parses `line` (the text of /proc/cmdline). Follows the kernel's next_arg(): blanks separate, double quotes
/// keep them, and a quote may stand before the name or before the value. Never fails: what it can't use it
/// skips.
BootOptions parse_command_line(std::string_view line);

}  // namespace guest_init
