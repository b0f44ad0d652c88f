// A session that is no program but a connection to a socket in the guest.
#pragma once

#include <string>

namespace guest_init {

/// Connects to `target`, "/path" of a UNIX socket or a TCP port on the guest's loopback, and copies standard
/// input to it and what comes back to standard output, until the other side closes. REQUIRES: a process of
/// its own, inside the image's root. When there is no connection, writes the code and the reason to `report`.
[[noreturn]] void become_relay(const std::string& target, int report);

}  // namespace guest_init
