// An option of a command line that takes one of a few words.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "oci-mount/base/str_cat.h"

namespace layerboot {

/// Declares on `app` an option that takes one of the words of `names`, and writes what the word means to
/// `value`, which must outlive the parsing. The help shows the words; any other word is refused with all of
/// them named.
template <typename Choice>
CLI::Option* add_choice(CLI::App* app, const char* option, Choice& value,
                        const std::map<std::string, Choice>& names, const char* help) {
  std::string words;
  std::vector<std::string> list;
  for (const auto& [name, choice] : names) {
    words += str_cat(words.empty() ? "" : "|", name);
    list.push_back(name);
  }
  CLI::IsMember is_one(list);
  // The help has them as the type.
  is_one.description("");
  // As text: CLI11's transformers would name the enumerators, by their numbers, in what they refuse.
  return app
      ->add_option_function<std::string>(
          option, [&value, names](const std::string& word) { value = names.at(word); }, help)
      ->check(is_one)
      ->type_name(words);
}

}  // namespace layerboot
