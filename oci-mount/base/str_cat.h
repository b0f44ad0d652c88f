// Joins pieces of text and numbers into one string, for messages.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace layerboot {

namespace str_cat_detail {

inline void append(std::string& out, std::string_view part) { out += part; }
inline void append(std::string& out, char part) { out += part; }
template <std::integral Number>
void append(std::string& out, Number part) {
  out += std::to_string(part);
}

}  // namespace str_cat_detail

template <typename... Parts>
[[nodiscard]] std::string str_cat(const Parts&... parts) {
  std::string out;
  (str_cat_detail::append(out, parts), ...);
  return out;
}

}  // namespace layerboot
