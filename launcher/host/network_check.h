// Whether what a VM wants of this machine's network is there and free, before anything is started.
#pragma once

#include <cstdint>
#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Binds the port for a moment, as QEMU and passt will. EADDRINUSE, EACCES and EADDRNOTAVAIL say what to do;
/// that another program takes the port afterwards can't be excluded. `address` is IPv4.
Result<void> check_port_free(const std::string& address, std::uint16_t port, bool udp);

/// A port of `address` that nobody listens at, by the kernel's choice.
Result<std::uint16_t> find_free_port(const std::string& address, bool udp);

/// ENODEV when there is no such interface: QEMU, as root, would make one that leads nowhere.
Result<void> check_interface(const std::string& name);

}  // namespace layerboot::launcher
