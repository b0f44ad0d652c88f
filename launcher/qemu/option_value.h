// Values in QEMU's option syntax.
#pragma once

#include <string>
#include <string_view>

namespace layerboot::launcher {

/// `text` as the value of a property: a comma ends one unless doubled.
inline std::string escape_commas(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c;
    if (c == ',') escaped += ',';
  }
  return escaped;
}

}  // namespace layerboot::launcher
