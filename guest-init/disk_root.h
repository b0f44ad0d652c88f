// What a root on a disk gets at boot that a root on virtiofs has already: the VM layer and the kernel's
// modules.
#pragma once

#include <string>

namespace guest_init {

/// Puts the files of the tar at `archive` (regular files and whiteouts, as the launcher writes them) into the
/// mounted root, once for each content of the archive: what the guest changed since stays. No archive,
/// nothing to do. What fails is said, and the boot goes on.
void apply_vm_layer(const char* archive);

/// Takes over the name that the machine was given from outside (QEMU's fw_cfg, opt/layerboot/hostname: GNS3's
/// node name) into the root's /etc/hostname and /etc/hosts: once for each name, so that one set in the guest
/// stays. REQUIRES: the root is mounted to be written, on a file system with trusted.* attributes.
void take_machine_name();

/// Mounts the modules of this kernel, on `device`, and its configuration into the root. What fails is said.
void mount_kernel_modules(const std::string& device);

}  // namespace guest_init
