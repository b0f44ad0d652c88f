// The network of an image whose own programs do not bring it up.
#pragma once

#include <string>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

/// Where the resolver that DHCP gave is kept until the image's root is there.
inline constexpr const char* kResolverFile = "/run/layerboot/resolv.conf";

/// Brings up the loopback device and each other one as `options` say (net_of_card()), those behind the first
/// with no route but to their own network. What does not work is told of; the boot goes on. REQUIRES: still
/// in the initramfs, where DHCP has its client (busybox).
void bring_up_network(const BootOptions& options);

/// Where a program of the image's has the cards: those that are to be up and no more, which none of them
/// would touch. A card that is still to get a name of `wanted` is left to that program: up, it would keep the
/// old one. REQUIRES: /sys is mounted.
void bring_up_bare_cards(const BootOptions& options, const std::vector<std::string>& wanted);

/// Puts kResolverFile, if there is one, over the image's /etc/resolv.conf, which stays as it is underneath.
/// REQUIRES: / is the image's root.
void use_resolver();

/// What udhcpc runs this program for, as its script: `event` is deconfig, bound or renew, the lease is in the
/// environment. The exit code.
int handle_lease(const std::string& event);

}  // namespace guest_init
