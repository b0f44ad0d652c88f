// The kernel's name for the serial line that is the machine's console.
#pragma once

#include <string_view>

namespace guest_init {

#if defined(__aarch64__)
inline constexpr std::string_view kSerialConsole = "ttyAMA0";
#else
inline constexpr std::string_view kSerialConsole = "ttyS0";
#endif

}  // namespace guest_init
