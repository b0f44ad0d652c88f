#include "launcher/supervise/ready_line.h"

#include <algorithm>
#include <cstdint>

#include "oci-mount/base/decimal.h"

namespace layerboot::launcher {

namespace {

constexpr std::string_view kReady = "ready";
constexpr std::uint64_t kMaxMicroseconds = std::uint64_t{1} << 48;  // years

std::optional<std::uint64_t> number_after(std::string_view name, std::string_view word) {
  if (!word.starts_with(name)) return std::nullopt;
  word.remove_prefix(name.size());
  return parse_decimal(word, kMaxMicroseconds);
}

}  // namespace

std::optional<ReadyLine> parse_ready_line(std::string_view line) {
  std::optional<std::uint64_t> indexes_open;
  std::optional<std::uint64_t> ready;
  bool first = true;
  while (!line.empty()) {
    const std::string_view word = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(line.size(), word.size() + 1));
    if (first && word != kReady) return std::nullopt;
    first = false;
    if (const auto value = number_after("indexes_open_us=", word)) indexes_open = value;
    if (const auto value = number_after("ready_us=", word)) ready = value;
  }
  if (first) return std::nullopt;
  ReadyLine said;
  if (indexes_open && ready && *indexes_open <= *ready)
    said.since_indexes_open = std::chrono::microseconds(*ready - *indexes_open);
  return said;
}

}  // namespace layerboot::launcher
