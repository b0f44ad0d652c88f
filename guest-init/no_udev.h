// What an image with systemd and without udev needs of us: most images that were made for containers.
#pragma once

namespace guest_init {

/// Whether udev will run in the image whose root is the directory `root`: its program is there, one of
/// systemd's targets wants it, and nobody has masked it. The well-known recipes for systemd in containers
/// delete those wishes and leave the program.
[[nodiscard]] bool has_udev(int root);

/// Puts a getty for the console into /run/systemd/system that waits for no device, in place of systemd's own,
/// which waits 90 s for udev's word of the serial line and is then given up. REQUIRES: / is the image's root,
/// /run is mounted, and systemd has not begun.
void put_console_getty(bool autologin);

}  // namespace guest_init
