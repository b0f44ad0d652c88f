// Programs for other architectures: their interpreters, told to the kernel.
#pragma once

namespace guest_init {

/// Hands the kernel what the VM layer has in /etc/binfmt.d, where no systemd will: `systemd` says whether one
/// does. Whether it does or not, the kernel's module is loaded. What goes wrong is said, and the boot goes
/// on. REQUIRES: / is the image's root, with /proc.
void register_interpreters(bool systemd);

}  // namespace guest_init
