// Whole numbers in foreign text.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace layerboot {

/// `text` as a number, when it is digits of that base, for a signed one with a '-' before them, and nothing
/// else, and the number one that T has.
template <typename T>
[[nodiscard]] std::optional<T> parse_whole(std::string_view text, int base = 10) {
  T number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// `text` as a number, when it is decimal digits and nothing else and the number at most `most`.
[[nodiscard]] inline std::optional<std::uint64_t> parse_decimal(std::string_view text, std::uint64_t most) {
  const auto number = parse_whole<std::uint64_t>(text);
  return number && *number <= most ? number : std::nullopt;
}

}  // namespace layerboot
