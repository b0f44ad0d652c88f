#include "launcher/images/here_documents.h"

#include <algorithm>
#include <optional>

#include "launcher/images/containerfile_words.h"

namespace layerboot::launcher {

namespace {

std::string without_quotes(std::string_view word) {
  std::string bare;
  char quote = '\0';
  for (std::size_t at = 0; at < word.size(); ++at) {
    const char c = word[at];
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && at + 1 < word.size()) {
      bare += word[++at];
    } else {
      bare += c;
    }
  }
  return bare;
}

std::optional<HereDocument> begun_by(std::string_view word) {
  word.remove_prefix(std::min(word.size(), word.find_first_not_of("0123456789")));
  if (!word.starts_with("<<")) return {};
  HereDocument document;
  document.without_tabs = word.starts_with("<<-");
  word.remove_prefix(document.without_tabs ? 3 : 2);
  if (word.empty() || word.contains('<')) return {};
  document.name = without_quotes(word);
  document.is_raw = document.name != word;
  return document;
}

std::string_view without_leading_tabs(std::string_view line) {
  line.remove_prefix(std::min(line.size(), line.find_first_not_of('\t')));
  return line;
}

}  // namespace

std::vector<HereWord> find_here_words(std::string_view text) {
  std::vector<HereWord> found;
  for (std::size_t at = 0; at < text.size();) {
    if (is_blank(text[at])) {
      ++at;
      continue;
    }
    const auto size = size_of_first_word(text.substr(at));
    if (!size) return {};
    if (auto document = begun_by(text.substr(at, *size)))
      found.push_back({.begin = at, .size = *size, .document = *std::move(document)});
    at += *size;
  }
  return found;
}

bool ends_document(const HereDocument& document, std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  return (document.without_tabs ? without_leading_tabs(line) : line) == document.name;
}

std::string text_of(const HereDocument& document) {
  if (!document.without_tabs) return document.lines;
  std::string text;
  for (std::string_view left = document.lines; !left.empty();) {
    const std::size_t size = std::min(left.find('\n'), left.size() - 1) + 1;
    text += without_leading_tabs(left.substr(0, size));
    left.remove_prefix(size);
  }
  return text;
}

}  // namespace layerboot::launcher
