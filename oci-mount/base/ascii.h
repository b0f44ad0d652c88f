// Letters of ASCII, whatever the locale says: notations and file formats know no other.
#pragma once

#include <string>

namespace layerboot {

[[nodiscard]] inline std::string ascii_lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace layerboot
