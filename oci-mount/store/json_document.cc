#include "oci-mount/store/json_document.h"

#include <set>

namespace layerboot::store {

namespace {

/// Watches the parser: how deep it is, and which keys each open object has had.
class StrictWatch {
 public:
  explicit StrictWatch(int max_depth) : max_depth_(max_depth) {}

  bool on_event(int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth > max_depth_) too_deep_ = true;
    if (event == Json::parse_event_t::object_start) open_objects_.emplace_back();
    if (event == Json::parse_event_t::object_end && !open_objects_.empty()) open_objects_.pop_back();
    if (event == Json::parse_event_t::key && !open_objects_.empty() &&
        !open_objects_.back().insert(parsed.get_ref<const std::string&>()).second && repeated_key_.empty()) {
      repeated_key_ = parsed.get_ref<const std::string&>();
    }
    return !too_deep_;  // false: the parser keeps nothing of what lies deeper
  }
  [[nodiscard]] bool too_deep() const { return too_deep_; }
  [[nodiscard]] const std::string& repeated_key() const { return repeated_key_; }

 private:
  int max_depth_;
  bool too_deep_ = false;
  std::string repeated_key_;
  std::vector<std::set<std::string>> open_objects_;
};

}  // namespace

Result<Json> parse_json_object(std::string_view text, std::size_t max_bytes, int max_depth,
                               std::string_view what) {
  if (text.size() > max_bytes) {
    return fail(EINVAL, what, ": ", text.size(), " bytes are over the limit of ", max_bytes);
  }
  StrictWatch watch(max_depth);
  try {
    Json document = Json::parse(text, [&](int depth, Json::parse_event_t event, const Json& parsed) {
      return watch.on_event(depth, event, parsed);
    });
    if (watch.too_deep()) return fail(EINVAL, what, ": nested deeper than the limit of ", max_depth);
    if (!watch.repeated_key().empty()) {
      return fail(EINVAL, what, ": has the key \"", watch.repeated_key(), "\" twice in one object");
    }
    if (!document.is_object()) return fail(EINVAL, what, ": is no JSON object");
    return document;
  } catch (const Json::exception& error) {
    if (watch.too_deep()) return fail(EINVAL, what, ": nested deeper than the limit of ", max_depth);
    return fail(EINVAL, what, ": is no JSON: ", error.what());
  }
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

Result<std::vector<std::string>> strings_member(const Json& object, const char* key, std::string_view what) {
  std::vector<std::string> strings;
  const Json* const member = find_member(object, key);
  if (member == nullptr) return strings;
  if (!member->is_array()) return fail(EINVAL, what, ": \"", key, "\" is no list");
  for (const Json& item : *member) {
    if (!item.is_string()) return fail(EINVAL, what, ": \"", key, "\" holds what is no string");
    strings.push_back(item.get_ref<const std::string&>());
  }
  return strings;
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
