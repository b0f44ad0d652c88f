// What a root on a disk gets at boot that a root on virtiofs has already: the VM layer and the kernel's
// modules.
#pragma once

#include <string>

namespace guest_init {

/// Puts the files of the tar at `archive` (regular files and whiteouts, as the launcher writes them) into the
/// mounted root, once for each content of the archive: what the guest changed since stays. No archive,
/// nothing to do. What fails is said, and the boot goes on.
void apply_vm_layer(const char* archive);

/// Mounts the modules of this kernel, on `device`, and its configuration into the root. What fails is said.
void mount_kernel_modules(const std::string& device);

}  // namespace guest_init
