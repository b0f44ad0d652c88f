// A VM as a libvirt domain.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/vm_config.h"

namespace layerboot::launcher {

/// The domain XML, pure. With a disk for a root it names `config`'s disks; otherwise the vhost-user socket
/// `virtiofs_socket`, at which a daemon of ours must listen whenever the domain is started. Follows libvirt's
/// formatdomain and kbase/virtiofs ("Externally-launched virtiofsd").
[[nodiscard]] std::string libvirt_domain_xml(const VmConfig& config,
                                             const std::filesystem::path& virtiofs_socket);

}  // namespace layerboot::launcher
