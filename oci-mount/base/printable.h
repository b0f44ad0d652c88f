// printable(): foreign text made fit for a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace layerboot {

inline constexpr std::size_t kMaxShownBytes = 256;

/// A name out of an image, a guest or a file, as messages and lists show it: UTF-8 as it is, but control
/// characters (C0, DEL, C1) and what is no UTF-8 as \ooo, and the backslash doubled, so that nothing in it is
/// a command to a terminal. Cut after about `max_bytes`, with "…".
[[nodiscard]] std::string printable(std::string_view text, std::size_t max_bytes = kMaxShownBytes);
/// Of any length.
[[nodiscard]] inline std::string printable_whole(std::string_view text) { return printable(text, SIZE_MAX); }

/// The same for a whole message: only control characters other than line feed and tab are escaped, and
/// nothing is cut.
[[nodiscard]] std::string printable_lines(std::string_view message);

/// The same for a JSON text that is valid: DEL and C1, which JSON lets stand in a text as they are, become
/// \u00XX, so that it means what it did.
[[nodiscard]] std::string printable_json(std::string_view text);

}  // namespace layerboot
