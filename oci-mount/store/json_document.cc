#include "oci-mount/store/json_document.h"

#include <algorithm>
#include <set>

#include "oci-mount/base/decimal.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/utf8.h"

namespace layerboot::store {

namespace {

/// Watches the parser: how deep it is, and which keys each open object has had.
class StrictWatch {
 public:
  explicit StrictWatch(int max_depth) : max_depth_(max_depth) {}

  bool on_event(int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth > max_depth_) too_deep_ = true;
    if (event == Json::parse_event_t::object_start) open_objects_.push_back({{}, is_free_map(last_key_)});
    if (event == Json::parse_event_t::object_end && !open_objects_.empty()) open_objects_.pop_back();
    if (event == Json::parse_event_t::key) on_key(parsed.get_ref<const std::string&>());
    return !too_deep_;  // false: the parser keeps nothing of what lies deeper
  }
  [[nodiscard]] bool too_deep() const { return too_deep_; }
  [[nodiscard]] const std::string& repeated_key() const { return repeated_key_; }

 private:
  struct OpenObject {
    std::set<std::string> keys;
    bool is_free_map;
  };

  /// What a person fills in, and says nothing about which document this is.
  static bool is_free_map(std::string_view key) { return key == "Labels" || key == "annotations"; }

  void on_key(const std::string& key) {
    last_key_ = key;
    if (open_objects_.empty() || open_objects_.back().is_free_map) return;
    if (!open_objects_.back().keys.insert(key).second && repeated_key_.empty()) repeated_key_ = key;
  }

  int max_depth_;
  bool too_deep_ = false;
  std::string last_key_;
  std::string repeated_key_;
  std::vector<OpenObject> open_objects_;
};

/// The four hexadecimal digits behind "\\u", or -1.
int code_unit(std::string_view text) {
  if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return -1;
  const auto unit = parse_whole<std::uint16_t>(text.substr(2, 4), 16);
  return unit ? *unit : -1;
}

/// U+FFFD for each byte that is no UTF-8, and for each half of a surrogate pair.
std::string with_replacements(std::string_view text) {
  constexpr std::size_t kEscapeBytes = 6;
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::size_t take = utf8_character_bytes(text);
    bool good = take != 0;
    if (text[0] == '\\') {
      const int unit = code_unit(text);
      const int next = unit < 0 ? -1 : code_unit(text.substr(kEscapeBytes));
      const bool high = unit >= 0xd800 && unit < 0xdc00;
      const bool low = unit >= 0xdc00 && unit < 0xe000;
      const bool pair = high && next >= 0xdc00 && next < 0xe000;
      good = !low && (!high || pair);
      take = unit < 0 ? std::min<std::size_t>(2, text.size()) : pair ? 2 * kEscapeBytes : kEscapeBytes;
    }
    take = std::max<std::size_t>(take, 1);
    out += good ? text.substr(0, take) : std::string_view("\xef\xbf\xbd");
    text.remove_prefix(take);
  }
  return out;
}

}  // namespace

namespace {

Result<Json> parse_strictly(std::string_view text, int max_depth, std::string_view what) {
  StrictWatch watch(max_depth);
  try {
    Json document = Json::parse(text, [&](int depth, Json::parse_event_t event, const Json& parsed) {
      return watch.on_event(depth, event, parsed);
    });
    if (watch.too_deep()) return fail(EINVAL, what, ": nested deeper than the limit of ", max_depth);
    if (!watch.repeated_key().empty()) {
      return fail(EINVAL, what, ": has the key \"", printable(watch.repeated_key()),
                  "\" twice in one object");
    }
    return document;
  } catch (const Json::exception& error) {
    if (watch.too_deep()) return fail(EINVAL, what, ": nested deeper than the limit of ", max_depth);
    return fail(EILSEQ, what, ": is no JSON: ", printable(error.what()));
  }
}

Result<Json> parse_document(std::string_view text, std::size_t max_bytes, int max_depth,
                            std::string_view what) {
  if (text.size() > max_bytes) {
    return fail(EINVAL, what, ": ", text.size(), " bytes are over the limit of ", max_bytes);
  }
  auto document = parse_strictly(text, max_depth, what);
  if (document || document.error().code != EILSEQ) return document;
  const std::string replaced = with_replacements(text);
  if (replaced != text) document = parse_strictly(replaced, max_depth, what);
  if (!document) document.error().code = EINVAL;
  return document;
}

}  // namespace

Result<Json> parse_json_object(std::string_view text, std::size_t max_bytes, int max_depth,
                               std::string_view what) {
  LB_ASSIGN(Json document, parse_document(text, max_bytes, max_depth, what));
  if (!document.is_object()) return fail(EINVAL, what, ": is no JSON object");
  return document;
}

Result<Json> parse_json_list(std::string_view text, std::size_t max_bytes, int max_depth,
                             std::string_view what) {
  LB_ASSIGN(Json document, parse_document(text, max_bytes, max_depth, what));
  if (!document.is_array()) return fail(EINVAL, what, ": is no JSON list");
  return document;
}

const Json* find_member(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> string_member(const Json& object, const char* key, std::string_view what) {
  const Json* const member = find_member(object, key);
  if (member == nullptr) return std::string();
  if (!member->is_string()) return fail(EINVAL, what, ": \"", key, "\" is no string");
  return member->get_ref<const std::string&>();
}

std::string text_member(const Json& object, const char* key) {
  return string_member(object, key, "").value_or("");
}

Result<std::vector<std::string>> strings_member(const Json& object, const char* key, std::string_view what) {
  std::vector<std::string> strings;
  const Json* const member = find_member(object, key);
  if (member == nullptr) return strings;
  if (!member->is_array()) return fail(EINVAL, what, ": \"", key, "\" is no list");
  for (const Json& item : *member) {
    if (item.is_null()) {
      strings.emplace_back();
      continue;
    }
    if (!item.is_string()) return fail(EINVAL, what, ": \"", key, "\" holds what is no string");
    strings.push_back(item.get_ref<const std::string&>());
  }
  return strings;
}

Result<std::vector<std::string>> words_member(const Json& object, const char* key, std::string_view what) {
  const Json* const member = find_member(object, key);
  if (member == nullptr || !member->is_string()) return strings_member(object, key, what);
  return std::vector{member->get<std::string>()};
}

Result<std::vector<std::string>> names_member(const Json& object, const char* key, std::string_view what) {
  std::vector<std::string> names;
  const Json* const member = find_member(object, key);
  if (member == nullptr) return names;
  if (!member->is_object()) return fail(EINVAL, what, ": \"", key, "\" is no object");
  for (const auto& [name, value] : member->items()) names.push_back(name);
  return names;
}

Result<std::uint64_t> size_member(const Json& object, const char* key, std::string_view what) {
  const Json* const member = find_member(object, key);
  if (member == nullptr || !member->is_number_unsigned()) {
    return fail(EINVAL, what, ": \"", key, "\" is missing or no size");
  }
  return member->get<std::uint64_t>();
}

}  // namespace layerboot::store
