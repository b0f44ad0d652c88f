// What of a machine's files belongs to that one machine, and to no other that is made from it. Pure.
#pragma once

#include <string_view>

namespace layerboot {

/// Whether `path` ("/etc/machine-id") is a machine's identity or a secret of its own (machine-id, the host
/// keys of ssh, seeds of random numbers, the key of systemd's credentials), or lies in /run or /tmp.
[[nodiscard]] bool belongs_to_one_machine(std::string_view path);

}  // namespace layerboot
