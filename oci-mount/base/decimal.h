// Whole numbers in foreign text.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace layerboot {

/// `text` as a number, when it is digits and nothing else and the number at most `most`.
[[nodiscard]] inline std::optional<std::uint64_t> parse_decimal(std::string_view text, std::uint64_t most) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > most) return std::nullopt;
  return number;
}

}  // namespace layerboot
