// The network of an image whose own programs do not bring it up.
#pragma once

#include <string>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

/// Where the resolver that DHCP gave is kept until the image's root is there.
inline constexpr const char* kResolverFile = "/run/layerboot/resolv.conf";

/// Brings up the loopback device and, as `choice` says, the first other one; those behind it as `more` says,
/// with no route but to their own network. What does not work is told of; the boot goes on. REQUIRES: still
/// in the initramfs, where DHCP has its client (busybox).
void bring_up_network(NetChoice choice, const std::vector<NetChoice>& more);

/// Puts kResolverFile, if there is one, over the image's /etc/resolv.conf, which stays as it is underneath.
/// REQUIRES: / is the image's root.
void use_resolver();

/// What udhcpc runs this program for, as its script: `event` is deconfig, bound or renew, the lease is in the
/// environment. The exit code.
int handle_lease(const std::string& event);

}  // namespace guest_init
