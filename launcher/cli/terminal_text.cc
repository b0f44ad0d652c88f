#include "launcher/cli/terminal_text.h"

#include <algorithm>
#include <utility>

#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

/// More of one kind without its end is none: a guest must not make us keep what it says.
constexpr std::size_t kMaxHeldBytes = 64;
constexpr std::size_t kMaxCharacterBytes = 4;
constexpr std::size_t kUndecided = std::string_view::npos;

/// The bytes of the colour that `text`, which begins with ESC, begins with; 0 where it begins with none.
std::size_t colour_bytes(std::string_view text) {
  if (text.size() == 1) return kUndecided;
  if (text[1] != '[') return 0;
  const std::size_t end = text.substr(0, kMaxHeldBytes).find_first_not_of("0123456789;", 2);
  if (end == std::string_view::npos) return text.size() < kMaxHeldBytes ? kUndecided : 0;
  return text[end] == 'm' ? end + 1 : 0;
}

/// How many bytes at the end may be the beginning of a character.
std::size_t begun_character_bytes(std::string_view text) {
  for (std::size_t size = 1; size < kMaxCharacterBytes && size <= text.size(); ++size) {
    const auto byte = static_cast<unsigned char>(text[text.size() - size]);
    if ((byte & 0xc0U) == 0x80) continue;  // goes on with one
    const std::size_t whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return whole > size ? size : 0;
  }
  return 0;
}

std::string_view take_front(std::string_view& text, std::size_t size_bytes) {
  const std::string_view front = text.substr(0, size_bytes);
  text.remove_prefix(front.size());
  return front;
}

}  // namespace

std::string TerminalText::take(std::string_view piece) {
  const std::string whole = std::exchange(held_, {}).append(piece);
  std::string_view text = whole;
  std::string out;
  while (!text.empty()) {
    if (text.front() == '\x1b') {
      const std::size_t size = colour_bytes(text);
      if (size == kUndecided) break;
      const std::string_view sequence = take_front(text, std::max<std::size_t>(size, 1));
      if (size != 0) is_coloured_ = sequence != "\x1b[m" && sequence != "\x1b[0m";
      out += size != 0 ? std::string(sequence) : printable(sequence);
    } else if (text.front() == '\r') {
      const std::size_t size = std::min(text.find_first_not_of('\r'), text.size());
      if (size == text.size() && size < kMaxHeldBytes) break;
      const std::string_view returns = take_front(text, size);
      if (!text.starts_with('\n')) out += printable_whole(returns);
    } else {
      std::string_view plain = text.substr(0, text.find_first_of("\x1b\r"));
      const std::size_t begun = plain.size() == text.size() ? begun_character_bytes(plain) : 0;
      plain.remove_suffix(begun);
      if (plain.empty()) break;
      out += printable_lines(plain);
      text.remove_prefix(plain.size());
    }
  }
  held_ = text;
  return out;
}

std::string TerminalText::finish() {
  std::string out = printable_lines(std::exchange(held_, {}));
  if (std::exchange(is_coloured_, false)) out += "\x1b[0m";
  return out;
}

}  // namespace layerboot::launcher
