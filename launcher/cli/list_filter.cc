#include "launcher/cli/list_filter.h"

#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

ListFilter split_filter(std::string_view text) {
  const auto equals = text.find('=');
  return {std::string(text.substr(0, equals)),
          std::string(equals == std::string_view::npos ? std::string_view() : text.substr(equals + 1))};
}

bool has_label(const std::vector<std::string>& labels, std::string_view value) {
  const bool whole = value.find('=') != std::string_view::npos;
  return std::ranges::any_of(labels, [&](const std::string& label) {
    return whole ? label == value : label.starts_with(str_cat(value, "="));
  });
}

std::string labels_text(const std::vector<std::string>& labels) {
  std::string text;
  for (const std::string& label : labels) text += str_cat(text.empty() ? "" : ",", printable_whole(label));
  return text;
}

}  // namespace layerboot::launcher
