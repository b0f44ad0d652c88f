// Swap space that the launcher has laid out.
#pragma once

#include <string>

namespace guest_init {

/// Hands `device` to the kernel to swap to; what is no longer needed there is discarded, so that the host
/// gets it back. Waits for the device as for the root's. What fails is said, and the boot goes on.
void use_swap(const std::string& device);

}  // namespace guest_init
