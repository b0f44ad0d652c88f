// Taking the parts of a text off its front.
#pragma once

#include <string_view>

namespace layerboot::launcher {

/// Splits off what stands before the first `separator`; all of `rest` when there is none.
inline std::string_view split_off(std::string_view& rest, char separator) {
  const auto end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

}  // namespace layerboot::launcher
