// Quotes and variables in what a Containerfile's instructions say. Pure.
//
// `$name`, `${name}`, `${name:-word}` and `${name:+word}`, and these without the colon, which then take an
// empty value for one. Quotes hold blanks, single ones dollars too, and a backslash the character behind it;
// within double quotes it is one where that is not ", \ or $. What a variable holds is taken as it is. A
// variable that is not there is empty, as Docker has it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Of one text, or of all words of one.
inline constexpr std::size_t kMaxExpandedBytes = std::size_t{1} << 20;

/// What parts words.
[[nodiscard]] bool is_blank(char c);

/// How long the word is that `text` begins with, quotes and all; nothing where one of them has no end.
[[nodiscard]] std::optional<std::size_t> size_of_first_word(std::string_view text);

using Variables = std::function<std::optional<std::string>(std::string_view name)>;

/// Words parted by blanks. EINVAL says what is not understood.
Result<std::vector<std::string>> expand_words(std::string_view text, const Variables& variables);

/// The same, all as one, blanks and all.
Result<std::string> expand_text(std::string_view text, const Variables& variables);

/// The same of a here-document, in which quotes mean themselves, and a backslash the character behind it.
Result<std::string> expand_document(std::string_view text, const Variables& variables);

/// NAME[=VALUE]
struct WordPair {
  std::string key;
  std::optional<std::string> value;
};

/// NAME[=VALUE]…, each as it is written, expanded. EINVAL where one has no name.
Result<std::vector<WordPair>> expand_pairs(std::string_view text, const Variables& variables);

struct KeyAndValue {
  std::string key;
  std::string value;
};

/// What ENV and LABEL say: KEY=VALUE…; or one, as "KEY the rest". EINVAL where it is neither.
Result<std::vector<KeyAndValue>> expand_keys_and_values(std::string_view text, const Variables& variables);

}  // namespace layerboot::launcher
