#include "oci-mount/base/printable.h"

#include "oci-mount/base/utf8.h"

namespace layerboot {

namespace {

/// C0, DEL, and C1, which UTF-8 writes as c2 80 to c2 9f.
bool is_control(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return lead < 0x20 || lead == 0x7f;
  return lead == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

void append_escaped(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += '\\';
    for (int shift = 6; shift >= 0; shift -= 3) out += static_cast<char>('0' + ((byte >> shift) & 7));
  }
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= max_bytes) return out + "…";
    const std::size_t size = utf8_character_bytes(text);
    const auto character = text.substr(0, size == 0 ? 1 : size);
    if (size == 0 || is_control(character)) {
      append_escaped(out, character);
    } else {
      out += character;
      if (character == "\\") out += '\\';
    }
    text.remove_prefix(character.size());
  }
  return out;
}

std::string printable_lines(std::string_view message) {
  std::string out;
  out.reserve(message.size());
  while (!message.empty()) {
    const std::size_t size = utf8_character_bytes(message);
    const auto character = message.substr(0, size == 0 ? 1 : size);
    const bool is_layout = character == "\n" || character == "\t";
    if (!is_layout && (size == 0 || is_control(character))) {
      append_escaped(out, character);
    } else {
      out += character;
    }
    message.remove_prefix(character.size());
  }
  return out;
}

std::string printable_json(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t size = text[i] == '\x7f' ? 1 : 2;
    const std::string_view character = text.substr(i, size);
    const auto last = static_cast<unsigned char>(character.back());
    // C0 is escaped already, or layout.
    if (character == "\x7f" || (character.size() == 2 && character[0] == '\xc2' && is_control(character))) {
      out += "\\u00";
      out += kDigits[last >> 4U];
      out += kDigits[last & 0xfU];
      i += size - 1;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace layerboot
