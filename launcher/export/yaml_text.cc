#include "launcher/export/yaml_text.h"

#include <strings.h>

#include <algorithm>
#include <array>
#include <utility>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using Json = nlohmann::ordered_json;

bool is_block(const Json& value) { return value.is_structured() && !value.empty(); }

std::string scalar(const Json& value) { return store::json_text(value); }

/// A name that YAML takes as a text without quotes, whatever the version: not one of those that some take for
/// a truth value or for nothing.
std::string key_text(const std::string& key) {
  constexpr std::array kTaken = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"};
  const bool is_plain = std::ranges::all_of(
      key, [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '/'; });
  const bool is_taken =
      std::ranges::any_of(kTaken, [&](const char* word) { return ::strcasecmp(word, key.c_str()) == 0; });
  return is_plain && !is_taken && !key.empty() ? key : scalar(key);
}

// The depth is that of a document which is made here.
void append_block(std::string& text, const Json& value, std::size_t indent, bool begins_inline) {
  bool is_first = begins_inline;
  const auto begin_line = [&] {
    if (!std::exchange(is_first, false)) text.append(indent, ' ');
  };
  if (value.is_array()) {
    for (const Json& item : value) {
      begin_line();
      text += "- ";
      if (is_block(item)) {
        append_block(text, item, indent + 2, true);
      } else {
        text += str_cat(scalar(item), '\n');
      }
    }
    return;
  }
  for (const auto& [key, member] : value.items()) {
    begin_line();
    text += str_cat(key_text(key), ':');
    if (is_block(member)) {
      text += '\n';
      append_block(text, member, indent + (member.is_array() ? 0 : 2), false);
    } else {
      text += str_cat(' ', scalar(member), '\n');
    }
  }
}

}  // namespace

std::string yaml_text(const nlohmann::ordered_json& object) {
  std::string text;
  append_block(text, object, 0, false);
  return text;
}

}  // namespace layerboot::launcher
