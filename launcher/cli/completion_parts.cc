#include "launcher/cli/completion_parts.h"

#include <algorithm>
#include <array>

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

/// The types whose values are, or begin with, a path of this machine.
constexpr std::array kPathTypes = {"FILE", "DIR", "SOCKET", "SOCKETS", "SPEC", "VOLUME", "PATH"};

/// "user|passt|tap=NAME" gives "user passt tap="; a type that is no list of words gives "".
std::string choices_of(std::string_view type) {
  if (type.find('|') == std::string_view::npos) return {};
  std::string words;
  while (!type.empty()) {
    const std::string_view choice = type.substr(0, type.find('|'));
    type.remove_prefix(std::min(type.size(), choice.size() + 1));
    const auto end = std::ranges::find_if(choice, [](char c) { return c >= 'A' && c <= 'Z'; });
    words += str_cat(words.empty() ? "" : " ", std::string(choice.begin(), end));
  }
  return words;
}

bool takes(const CLI::App& command, const char* positional) {
  const auto options = all_options(command);
  return std::ranges::any_of(options, [&](const CLI::Option* option) {
    return option->get_positional() && option->get_name(true).starts_with(positional);
  });
}

}  // namespace

std::vector<std::string> typed_names(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  return names;
}

std::vector<const CLI::Option*> all_options(const CLI::App& command) {
  const auto own = command.get_options();
  std::vector<const CLI::Option*> options(own.begin(), own.end());
  for (const CLI::App* second : command.get_subcommands(nullptr)) {
    const auto more = second->get_options();
    options.insert(options.end(), more.begin(), more.end());
  }
  return options;
}

OptionValue value_of(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return {};
  // After the ':' are the bounds of a number.
  const std::string full = option.get_type_name();
  OptionValue value{.kind = ValueKind::kAny, .type = full.substr(0, full.find(':')), .choices = {}};
  value.choices = choices_of(value.type);
  if (std::ranges::find(kPathTypes, value.type) != kPathTypes.end()) value.kind = ValueKind::kPath;
  if (!value.choices.empty()) value.kind = ValueKind::kChoice;
  return value;
}

Subject subject_of(const CLI::App& command) {
  const bool both = takes(command, "VM_OR_IMAGE");
  return {.vms = both || takes(command, "VM"), .images = both || takes(command, "IMAGE")};
}

std::string completion(const CLI::App& app, std::string_view shell) {
  if (shell == "zsh") return zsh_completion(app);
  if (shell == "fish") return fish_completion(app);
  return bash_completion(app);
}

}  // namespace layerboot::launcher
