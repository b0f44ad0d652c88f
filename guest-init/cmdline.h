// The kernel's command line, as far as guest-init heeds it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

/// A further virtiofs to mount.
struct Share {
  std::string tag;
  std::string path;  // in the image
  bool read_only = false;
};

/// What the guest lays over a root that is only read.
struct GuestUpper {
  std::string device;        // of an ext4; empty: a tmpfs
  std::string size;          // of the tmpfs, as mount(8) takes it; empty: the kernel's choice
  bool is_volatile = false;  // nothing of it is needed after this run
};

/// What is to be PID 1 once the root is there.
enum class RunChoice {
  kAuto,     // the image says: its command names an init, or systemd is its /sbin/init
  kInit,     // the image's init
  kCommand,  // guest-init stays, and runs the image's command
};

enum class NetChoice {
  kLeave,   // nobody told us about a network
  kStatic,  // QEMU's user network: 10.0.2.15/24 by way of 10.0.2.2, resolver 10.0.2.3
  kDhcp,
  kUp,  // every device up, none with an address: a network lab's
};

/// What the person at the launcher wants of this boot. Parameters not listed here are the kernel's or init's
/// own.
struct BootOptions {
  std::string root = "root";           // root=       the virtiofs tag, or a block device's path
  std::string root_type = "virtiofs";  // rootfstype= ext4 when it is left out and root= begins with /dev/
  std::string root_flags;              // rootflags=  given to mount(2)
  bool read_only = false;              // ro, rw: the last one counts
  std::optional<GuestUpper> upper;     // layerboot.upper=DEVICE[,volatile]|ram[,size=BYTES]
  std::string modules;  // layerboot.modules= a device with the kernel's modules, for a root on a disk
  std::string swap;     // layerboot.swap= a device to swap to
  std::string init;     // init=       empty: look for the image's own
  std::vector<std::string> init_arguments;  // what follows `--`
  bool single = false;                      // single: a shell before the root is mounted
  bool shell_once = false;                  // layerboot.shell=once: the end of a shell is the machine's
  bool probe = false;                       // layerboot.probe: say that we run, and power off
  bool timing = false;                      // layerboot.timing: say on the console how far the boot is
  bool agent = false;                       // layerboot.agent: there is a port for the agent
  RunChoice run = RunChoice::kAuto;         // layerboot.run=auto|init|command
  NetChoice net = NetChoice::kLeave;        // layerboot.net=user|dhcp|up[,user|dhcp|up...]
  std::vector<NetChoice> more_nets;         // of the further cards
  bool keep_resolver = false;               // layerboot.resolver=image: what DHCP says of it is left
  bool cgroup_v1 = false;                   // layerboot.cgroup=1, for images without an init
  std::vector<Share> shares;                // layerboot.mount=TAG:PATH[:ro], again and again
};

/// What is wanted of the card that has `before` others before it: an `up` that ends the list is for all
/// further ones, too.
[[nodiscard]] NetChoice net_of_card(const BootOptions& options, std::size_t before);

/// Parses `line` (the text of /proc/cmdline). Follows the kernel's next_arg(): blanks separate, double quotes
/// keep them, and a quote may stand before the name or before the value. Never fails: what it can't use it
/// skips.
BootOptions parse_command_line(std::string_view line);

}  // namespace guest_init
