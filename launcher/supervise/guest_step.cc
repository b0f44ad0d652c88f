#include "launcher/supervise/guest_step.h"

#include <cstdint>

#include "oci-mount/base/decimal.h"

namespace layerboot::launcher {

namespace {

constexpr std::string_view kPrefix = "layerboot: timing: ";
constexpr std::uint64_t kMaxMicroseconds = 1'000'000'000;

}  // namespace

std::optional<GuestStep> parse_guest_step(std::string_view line) {
  const std::size_t at = line.find(kPrefix);
  if (at == std::string_view::npos) return std::nullopt;
  GuestStep step{.name = std::string(line.substr(at + kPrefix.size()))};
  std::erase_if(step.name, [](char one) { return one < ' ' || one > '~'; });
  const std::size_t minus = step.name.rfind(" -");
  if (minus == std::string::npos) return step;
  const auto microseconds = parse_decimal(std::string_view(step.name).substr(minus + 2), kMaxMicroseconds);
  if (!microseconds) return step;
  step.ago = std::chrono::microseconds(*microseconds);
  step.name.resize(minus);
  return step;
}

}  // namespace layerboot::launcher
