// Strict reading of one JSON document: bounded depth, no key twice but in labels and annotations (there the
// last counts, as in Go), and typed access that names the field in its errors. Text that is no Unicode is
// taken as Go takes it, with U+FFFD in its place. The one place where nlohmann-json's exceptions could arise;
// none leaves it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/printable.h"
#include "oci-mount/base/result.h"

namespace layerboot::store {

using Json = nlohmann::json;

/// The document's top object. Errors are EINVAL and begin with `what`.
Result<Json> parse_json_object(std::string_view text, std::size_t max_bytes, int max_depth,
                               std::string_view what);

/// The same of a document whose top is a list.
Result<Json> parse_json_list(std::string_view text, std::size_t max_bytes, int max_depth,
                             std::string_view what);

/// A document for people and programs, with nothing in it that is a command to a terminal; what is no UTF-8
/// becomes U+FFFD. `indent` -1: one line, else of that many spaces.
template <typename AnyJson>
std::string json_text(const AnyJson& document, int indent = -1) {
  return printable_json(document.dump(indent, ' ', false, AnyJson::error_handler_t::replace));
}

/// A member of `object`, or nullptr when it is not there, is null, or `object` is no object.
const Json* find_member(const Json& object, std::string_view key);

/// The member `key` of `object`, "" or {} where it is absent or null, and "" for a null in a list; EINVAL
/// when it is something else.
Result<std::string> string_member(const Json& object, const char* key, std::string_view what);
/// The same for who takes anything: "" for what is no text, too.
std::string text_member(const Json& object, const char* key);
Result<std::vector<std::string>> strings_member(const Json& object, const char* key, std::string_view what);
/// The same of a command line, as Docker reads one: a text is a list of one word.
Result<std::vector<std::string>> words_member(const Json& object, const char* key, std::string_view what);
/// The names in the object `key`, as above.
Result<std::vector<std::string>> names_member(const Json& object, const char* key, std::string_view what);
/// Required here.
Result<std::uint64_t> size_member(const Json& object, const char* key, std::string_view what);

}  // namespace layerboot::store
