// A VM as a libvirt domain.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/vm/vm_config.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Where the daemon of a volume listens that is served beside the root at `root_socket`.
[[nodiscard]] std::filesystem::path volume_socket(const std::filesystem::path& root_socket,
                                                  std::size_t number);

/// The domain XML, pure. With a disk for a root it names `config`'s disks; otherwise the vhost-user socket
/// `virtiofs_socket`, at which a daemon of ours must listen whenever the domain is started, and one at each
/// volume's volume_socket(). Published ports are arguments for QEMU. REQUIRES: no volumes on a disk
/// root, whose VM has no daemons. Follows libvirt's
/// formatdomain and kbase/virtiofs ("Externally-launched virtiofsd").
Result<std::string> libvirt_domain_xml(const VmConfig& config, const std::filesystem::path& virtiofs_socket);

}  // namespace layerboot::launcher
