// Who brings up the network cards: one program of the image's, by what the image enables, or this one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

enum class NetworkOwner {
  kUs,              // nothing of the image's would
  kNetworkd,        // by the unit of the VM layer, unless the image has one of its own
  kNetworkManager,  // by its own default for a card that it has no profile for
  kIfupdown,        // /etc/network/interfaces names a card
};

struct NetworkChoice {
  NetworkOwner owner = NetworkOwner::kUs;
  std::vector<std::string> card_names;  // with kIfupdown: as it calls the cards, in order
};

/// What the image enables. `root`: its root directory; `systemd`: its init is that; `udev`: it has one,
/// without whose word neither networkd nor NetworkManager takes a card for ready.
[[nodiscard]] NetworkChoice choose_network(int root, bool systemd, bool udev);

/// The network cards that interfaces(5) brings up at boot, in order: neither the loopback nor what is made on
/// top of a card. Pure.
[[nodiscard]] std::vector<std::string> cards_of_interfaces(std::string_view text);

/// A drop-in for NetworkManager by which it configures no card of its own accord but those with the addresses
/// `macs`. Profiles count as ever. Pure.
[[nodiscard]] std::string no_auto_default(const std::vector<std::string>& macs);

/// Keeps NetworkManager, where the cards are its, from configuring those that are only to be up. REQUIRES: /
/// is the image's root.
void keep_cards_bare(const BootOptions& options, const NetworkChoice& choice);

/// Keeps systemd's networkd, which the kernel's command line asks for, away from cards that are another
/// program's; and has the cards named as the image's configuration calls them: by its udev, or where no such
/// word of ours would be heard, at once. REQUIRES: / is the image's root. `systemd`, `udev`: as for
/// choose_network().
void leave_cards_to(const NetworkChoice& choice, bool systemd, bool udev);

}  // namespace guest_init
