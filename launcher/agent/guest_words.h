// guest_words(): what a guest says, as a message of ours gives it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace layerboot::launcher {

inline constexpr std::size_t kMaxGuestWordsBytes = 1024;
/// What every text of a guest's begins with, wherever it stands among lines of ours.
inline constexpr std::string_view kGuestSays = "the VM says: ";

/// On one line: line feeds and other control characters are escaped as printable_lines() has it, and what is
/// beyond the bound is cut. The same again changes nothing.
[[nodiscard]] std::string one_line(std::string_view text);
/// One line that is marked as the guest's.
[[nodiscard]] std::string guest_words(std::string_view text);
/// Of several lines the last ones, kMaxGuestLines and kMaxGuestLinesBytes at most, each on a line of its own
/// that is marked as the guest's.
inline constexpr std::size_t kMaxGuestLines = 200;
inline constexpr std::size_t kMaxGuestLinesBytes = std::size_t{16} << 10;
[[nodiscard]] std::string guest_lines(std::string_view text);

}  // namespace layerboot::launcher
