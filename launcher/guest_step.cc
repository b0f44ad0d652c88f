#include "launcher/guest_step.h"

#include <charconv>
#include <cstdint>

namespace layerboot::launcher {

namespace {

constexpr std::string_view kPrefix = "layerboot: timing: ";
constexpr std::uint32_t kMaxMicroseconds = 1'000'000'000;

std::optional<std::chrono::microseconds> parse_delay(std::string_view text) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end || value > kMaxMicroseconds) return std::nullopt;
  return std::chrono::microseconds(value);
}

}  // namespace

std::optional<GuestStep> parse_guest_step(std::string_view line) {
  const std::size_t at = line.find(kPrefix);
  if (at == std::string_view::npos) return std::nullopt;
  GuestStep step{.name = std::string(line.substr(at + kPrefix.size())), .after_kernel = std::nullopt};
  std::erase_if(step.name, [](char one) { return one < ' ' || one > '~'; });
  const std::size_t plus = step.name.rfind(" +");
  if (plus == std::string::npos) return step;
  step.after_kernel = parse_delay(std::string_view(step.name).substr(plus + 2));
  if (step.after_kernel) step.name.resize(plus);
  return step;
}

}  // namespace layerboot::launcher
