// The machine's network cards, by the kernel's names.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

/// All network devices but the loopback, by name.
std::vector<std::string> network_cards();

/// What each of `wanted` is called now: itself where there is such a card, otherwise the next of `present`
/// that nobody wants. Pairs of now and then, in the order of `wanted`, as far as there are cards. Pure.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> name_cards(
    const std::vector<std::string>& present, const std::vector<std::string>& wanted);

/// Those of `present` of which the boot wants that they are up and no more (net_of_card()), and that
/// name_cards() gives no other name. Pure.
[[nodiscard]] std::vector<std::string> bare_cards(const BootOptions& options,
                                                  const std::vector<std::string>& present,
                                                  const std::vector<std::string>& wanted);

/// False with errno. A card that is up keeps its name.
bool rename_card(const std::string& now, const std::string& then);

}  // namespace guest_init
