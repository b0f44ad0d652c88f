#include "oci-mount/base/printable.h"

namespace layerboot {

namespace {

/// The bytes of the well-formed UTF-8 character that `text` begins with (Unicode 15, table 3-7), or 0.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xed && byte(1) >= 0xa0;
  const bool too_large = lead == 0xf4 && byte(1) >= 0x90;
  return overlong || surrogate || too_large ? 0 : size;
}

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
    const std::size_t size = character_bytes(text);
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
    const std::size_t size = character_bytes(message);
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

}  // namespace layerboot
