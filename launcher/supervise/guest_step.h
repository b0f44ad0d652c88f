// What guest-init and the VM layer's unit say on the console with --timing.
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

}  // namespace layerboot::launcher
