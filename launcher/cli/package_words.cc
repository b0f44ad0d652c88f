#include "launcher/cli/package_words.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "launcher/cli/run_ways.h"

namespace layerboot::launcher {

namespace {

constexpr std::array<std::string_view, 2> kByFile = {"--ssh-key", "--env-file"};

std::vector<std::string> values_of(const Options& run, std::string_view name) {
  const auto found = std::ranges::find(run.given, name, &GivenOption::name);
  return found == run.given.end() ? std::vector<std::string>() : found->values;
}

/// Takes the option, in either of its forms, out of `words`, and gives its values.
std::vector<std::string> take_out(std::vector<std::string>& words, std::string_view name) {
  const std::string with_value = str_cat(name, '=');
  std::vector<std::string> values;
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].starts_with(with_value)) {
      values.push_back(words[i].substr(with_value.size()));
    } else if (words[i] == name && i + 1 < words.size()) {
      values.push_back(words[++i]);
    } else {
      rest.push_back(words[i]);
    }
  }
  words = std::move(rest);
  return values;
}

}  // namespace

Result<std::vector<std::string>> words_to_store(const std::vector<std::string>& words, const Options& run) {
  LB_TRY(check_fits(RunWay::kPackage, run.given));
  std::vector<std::string> stored = words;
  for (const std::string_view name : kByFile) {
    // A word like it may be the value of another option.
    if (take_out(stored, name) != values_of(run, name))
      return fail(EINVAL, "package: '", name, "' is there twice, once as another option's value");
  }
  std::vector<std::string> texts;
  texts.reserve(run.ssh_keys.size() + run.file_environment.size());
  for (const std::string& key : run.ssh_keys) texts.push_back(str_cat("--ssh-key=", key));
  // First, so that what --env says counts.
  for (const std::string& variable : run.file_environment) texts.push_back(str_cat("--env=", variable));
  stored.insert(stored.begin(), texts.begin(), texts.end());
  for (const std::string& word : stored) {
    if (word.find('\n') != std::string::npos)
      return fail(EINVAL, "package: an option of run can't have a line feed in it");
  }
  return stored;
}

}  // namespace layerboot::launcher
