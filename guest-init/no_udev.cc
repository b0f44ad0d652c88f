#include "guest-init/no_udev.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "guest-init/console.h"
#include "guest-init/files.h"
#include "guest-init/serial_console.h"

namespace guest_init {

namespace {

constexpr std::array<const char*, 2> kPrograms = {"usr/lib/systemd/systemd-udevd",
                                                  "lib/systemd/systemd-udevd"};
constexpr std::array<const char*, 3> kUnitFolders = {"etc/systemd/system/", "usr/lib/systemd/system/",
                                                     "lib/systemd/system/"};
constexpr std::array<const char*, 2> kWishes = {"sysinit.target.wants/systemd-udevd.service",
                                                "sockets.target.wants/systemd-udevd-control.socket"};

// As systemd's console-getty.service, on the serial line and with no wish of a device.
constexpr const char* kGetty = R"([Unit]
Description=Getty on the console, without udev
After=systemd-user-sessions.service getty-pre.target
Before=getty.target
ConditionPathExists=/sbin/agetty

[Service]
ExecStart=-/sbin/agetty %OPTIONS% --noclear --keep-baud - 115200,38400,9600 vt220
Type=idle
Restart=always
UtmpIdentifier=cons
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/%CONSOLE%
TTYReset=yes
TTYVHangup=yes
IgnoreSIGPIPE=no
SendSIGHUP=yes
)";
constexpr const char* kUnits = "/run/systemd/system";

/// Not followed: a link leads somewhere in the image, and this process may have another root.
bool is_there(int root, const std::string& path) {
  return faccessat(root, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool is_masked(int root, const char* unit) {
  char target[PATH_MAX];
  const std::string path = std::string(kUnitFolders[0]) + unit;
  const ssize_t size = readlinkat(root, path.c_str(), target, sizeof(target));
  return size > 0 && std::string_view(target, static_cast<std::size_t>(size)) == "/dev/null";
}

}  // namespace

bool has_udev(int root) {
  bool program = false;
  for (const char* path : kPrograms) program = program || is_there(root, path);
  if (!program || is_masked(root, "systemd-udevd.service")) return false;
  for (const char* folder : kUnitFolders) {
    for (const char* wish : kWishes) {
      if (is_there(root, std::string(folder) + wish)) return true;
    }
  }
  return false;
}

void put_console_getty(bool autologin) {
  const std::string units = kUnits;
  std::string getty = kGetty;
  const auto put_at = [&getty](std::string_view place, std::string_view text) {
    getty.replace(getty.find(place), place.size(), text);
  };
  put_at("%OPTIONS%", autologin ? R"(-o '-p -f -- \\u' --autologin root)" : R"(-o '-p -- \\u')");
  put_at("%CONSOLE%", kSerialConsole);
  make_directories(units + "/multi-user.target.wants");
  const bool put =
      write_text(units + "/layerboot-getty.service", getty) &&
      symlink("../layerboot-getty.service",
              (units + "/multi-user.target.wants/layerboot-getty.service").c_str()) == 0 &&
      symlink("/dev/null", (units + "/serial-getty@" + std::string(kSerialConsole) + ".service").c_str()) ==
          0;
  if (!put) say("no getty on the console: cannot write to " + units + because());
}

}  // namespace guest_init
