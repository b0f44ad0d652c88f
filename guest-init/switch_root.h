// Makes the mounted root the system's root.
#pragma once

namespace guest_init {

/// Moves /dev, /proc, /sys and /run over, frees what the initramfs holds, and makes kNewRoot the root of this
/// process. Follows switch_root(8). Stops the boot when it can't. Gives the old root's directory, which no
/// path leads to any more; the caller closes it.
int switch_root();

}  // namespace guest_init
