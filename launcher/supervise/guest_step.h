// What guest-init and the VM layer's unit say on the console, for the launcher to hear.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace layerboot::launcher {

struct GuestStep {
  std::string name;                  // printable, whatever the guest says
  std::chrono::microseconds ago{0};  // by the guest's clock
};

/// Reads "layerboot: timing: STEP [-MICROSECONDS]", wherever in a line of the console it begins.
[[nodiscard]] std::optional<GuestStep> parse_guest_step(std::string_view line);

/// Whether the line says that one of guest-init's shells begins.
[[nodiscard]] bool says_shell_begins(std::string_view line);

/// Reads "layerboot: boot stopped: WHAT", likewise: WHAT, printable. Empty when that is not said.
[[nodiscard]] std::string parse_boot_stop(std::string_view line);

}  // namespace layerboot::launcher
