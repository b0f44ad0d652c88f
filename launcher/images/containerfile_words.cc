#include "launcher/images/containerfile_words.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

/// `${a:-${b:-…}}`, as deep.
constexpr unsigned kMaxDepth = 16;

bool begins_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_in_name(char c) { return begins_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0; }

enum class Quotes { kTaken, kKept };

class Expander {
 public:
  Expander(std::string_view text, const Variables& variables, Quotes quotes = Quotes::kTaken)
      : text_(text), variables_(variables), quotes_(quotes) {}

  Result<std::vector<std::string>> words() {
    std::vector<std::string> words;
    while (at_ < text_.size()) {
      if (is_blank(text_[at_])) {
        ++at_;
        continue;
      }
      LB_ASSIGN(words.emplace_back(), piece([](char c) { return is_blank(c); }, 0));
      taken_bytes_ += words.back().size();
    }
    return words;
  }
  Result<std::string> whole() {
    return piece([](char) { return false; }, 0);
  }

 private:
  /// Up to what `ends` it outside of quotes.
  Result<std::string> piece(bool (*ends)(char), unsigned depth) {
    std::string out;
    char quote = '\0';
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (quote == '\0' && ends(c)) return out;
      if (c == quote) {
        quote = '\0';
      } else if (quotes_ == Quotes::kTaken && quote == '\0' && (c == '"' || c == '\'')) {
        quote = c;
      } else if (quote != '\'' && c == '\\' && at_ + 1 < text_.size()) {
        const char next = text_[++at_];
        if (quote == '"' && next != '"' && next != '\\' && next != '$') out += c;
        out += next;
      } else if (quote != '\'' && c == '$') {
        LB_ASSIGN(const std::string value, variable(depth));
        out += value;
      } else {
        out += c;
      }
      if (taken_bytes_ + out.size() > kMaxExpandedBytes)
        return fail(EINVAL, "with its variables it comes to more than ", kMaxExpandedBytes >> 20, " MiB");
    }
    if (quote != '\0') return fail(EINVAL, "a quotation has no end");
    return out;
  }

  std::string_view name() {
    const std::size_t begin = at_;
    if (at_ < text_.size() && begins_name(text_[at_])) {
      while (at_ < text_.size() && is_in_name(text_[at_])) ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }

  /// From the '$' on; `at_` is on its last character afterwards.
  Result<std::string> variable(unsigned depth) {
    ++at_;
    if (at_ < text_.size() && text_[at_] == '{') return braced(depth);
    const std::string_view called = name();
    --at_;
    if (called.empty()) return std::string("$");
    return variables_(called).value_or("");
  }

  Result<std::string> braced(unsigned depth) {
    if (depth == kMaxDepth) return fail(EINVAL, "variables are nested too deep");
    ++at_;
    const std::string_view called = name();
    if (called.empty()) return fail(EINVAL, "\"${\" has no name behind it");
    const bool has_colon = at_ < text_.size() && text_[at_] == ':';
    if (has_colon) ++at_;
    const char how = at_ < text_.size() ? text_[at_] : '\0';
    const auto value = variables_(called);
    if (how == '}' && !has_colon) return value.value_or("");
    if (how != '-' && how != '+') {
      return fail(EINVAL, "\"${", printable(called), "\" is to go on with }, :- or :+");
    }
    ++at_;
    LB_ASSIGN(std::string word, piece([](char c) { return c == '}'; }, depth + 1));
    if (at_ >= text_.size()) return fail(EINVAL, "\"${", printable(called), "\" has no end");
    const bool is_there = value && (!has_colon || !value->empty());
    if (how == '-') return is_there ? *value : word;
    return is_there ? word : std::string();
  }

  std::string_view text_;
  const Variables& variables_;
  Quotes quotes_;
  std::size_t at_ = 0;
  std::size_t taken_bytes_ = 0;  // by words that are done
};

}  // namespace

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

std::optional<std::size_t> size_of_first_word(std::string_view text) {
  char quote = '\0';
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quote == '\0' && is_blank(c)) break;
    if (c == '\\' && quote != '\'') {
      ++at;
    } else if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    }
  }
  if (quote != '\0') return {};
  return std::min(at, text.size());
}

Result<std::vector<std::string>> expand_words(std::string_view text, const Variables& variables) {
  return Expander(text, variables).words();
}

Result<std::string> expand_text(std::string_view text, const Variables& variables) {
  return Expander(text, variables).whole();
}

Result<std::string> expand_document(std::string_view text, const Variables& variables) {
  return Expander(text, variables, Quotes::kKept).whole();
}

Result<std::vector<WordPair>> expand_pairs(std::string_view text, const Variables& variables) {
  std::vector<WordPair> pairs;
  LB_ASSIGN(const auto words, expand_words(text, variables));
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    WordPair pair{.key = word.substr(0, equals), .value = {}};
    if (equals != std::string::npos) pair.value = word.substr(equals + 1);
    if (pair.key.empty()) return fail(EINVAL, "\"", printable(word), "\" has no name");
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

Result<std::vector<KeyAndValue>> expand_keys_and_values(std::string_view text, const Variables& variables) {
  if (text.empty()) return fail(EINVAL, "it says nothing");
  std::vector<KeyAndValue> all;
  const std::size_t end = size_of_first_word(text).value_or(text.size());
  if (text.substr(0, end).contains('=')) {
    LB_ASSIGN(auto pairs, expand_pairs(text, variables));
    for (WordPair& pair : pairs) {
      if (!pair.value) return fail(EINVAL, "\"", printable(pair.key), "\" is not of the form KEY=VALUE");
      all.push_back({.key = std::move(pair.key), .value = *std::move(pair.value)});
    }
    return all;
  }
  if (end == text.size()) return fail(EINVAL, "\"", printable(text), "\" has no value");
  std::string_view rest = text.substr(end);
  while (!rest.empty() && is_blank(rest.front())) rest.remove_prefix(1);
  LB_ASSIGN(std::string value, expand_text(rest, variables));
  all.push_back({.key = std::string(text.substr(0, end)), .value = std::move(value)});
  return all;
}

}  // namespace layerboot::launcher
