// --filter of the lists that may have it. Which keys there are, each list says for itself.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot::launcher {

/// "key=value".
struct ListFilter {
  std::string key;
  std::string value;
};

ListFilter split_filter(std::string_view text);

/// Whether one of the labels is `value`, "NAME=VALUE", or has that name.
bool has_label(const std::vector<std::string>& labels, std::string_view value);
/// All of them, printable, with commas between.
std::string labels_text(const std::vector<std::string>& labels);

/// As Docker has it: of one key any filter has to pass, of several keys, and of labels, all.
template <typename Passes>
bool pass_together(const std::vector<ListFilter>& filters, Passes passes) {
  std::map<std::string, bool> passed;
  for (const ListFilter& filter : filters) {
    bool& any = passed[filter.key == "label" ? "label=" + filter.value : filter.key];
    any = any || passes(filter);
  }
  return std::ranges::all_of(passed, [](const auto& one) { return one.second; });
}

}  // namespace layerboot::launcher
