// Well-formed UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace layerboot {

/// The bytes of the character that `text` begins with, or 0 where it begins with none (Unicode 15, table
/// 3-7). REQUIRES: `text` is not empty.
[[nodiscard]] std::size_t utf8_character_bytes(std::string_view text);

/// Whether all of it is.
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace layerboot
