#include "launcher/supervise/guest_step.h"

#include <cstdint>

#include "oci-mount/base/decimal.h"

namespace layerboot::launcher {

namespace {

constexpr std::string_view kPrefix = "layerboot: timing: ";
constexpr std::string_view kStopPrefix = "layerboot: boot stopped: ";
constexpr std::uint64_t kMaxMicroseconds = 1'000'000'000;

/// A console's noise is dropped, not shown.
std::string plain_ascii(std::string_view text) {
  std::string result(text);
  std::erase_if(result, [](char one) { return one < ' ' || one > '~'; });
  return result;
}

}  // namespace

std::optional<GuestStep> parse_guest_step(std::string_view line) {
  const std::size_t at = line.find(kPrefix);
  if (at == std::string_view::npos) return std::nullopt;
  GuestStep step{.name = plain_ascii(line.substr(at + kPrefix.size()))};
  const std::size_t minus = step.name.rfind(" -");
  if (minus == std::string::npos) return step;
  const auto microseconds = parse_decimal(std::string_view(step.name).substr(minus + 2), kMaxMicroseconds);
  if (!microseconds) return step;
  step.ago = std::chrono::microseconds(*microseconds);
  step.name.resize(minus);
  return step;
}

bool says_shell_begins(std::string_view line) {
  return line.find("layerboot: shell ") != std::string_view::npos ||
         line.find("layerboot: recovery shell;") != std::string_view::npos;
}

std::string parse_boot_stop(std::string_view line) {
  const std::size_t at = line.find(kStopPrefix);
  return at == std::string_view::npos ? "" : plain_ascii(line.substr(at + kStopPrefix.size()));
}

}  // namespace layerboot::launcher
