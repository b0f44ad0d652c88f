// The completion of layerboot's command line for bash, made out of its own description.

#include <algorithm>
#include <array>

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

/// The types whose values are, or begin with, a path of this machine.
constexpr std::array kPathTypes = {"FILE", "DIR", "SOCKET", "SOCKETS", "SPEC", "VOLUME"};

/// The option's names as they are typed, each after `separator` but for the first.
std::string typed_names(const CLI::Option& option, char separator) {
  std::string names;
  const auto add = [&](std::string_view dashes, const std::string& name) {
    if (!names.empty()) names += separator;
    names += str_cat(dashes, name);
  };
  for (const std::string& name : option.get_lnames()) add("--", name);
  for (const std::string& name : option.get_snames()) add("-", name);
  return names;
}

std::string option_words(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options()) {
    if (const std::string names = typed_names(*option, ' '); !names.empty()) words += str_cat(' ', names);
  }
  return words;
}

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

/// What the word after one of the command's options may be, as branches of a `case`.
std::string value_branches(const CLI::App& command) {
  std::string branches;
  for (const CLI::Option* option : command.get_options()) {
    const std::string names = typed_names(*option, '|');
    if (names.empty() || option->get_items_expected_max() == 0) continue;
    // After the ':' are the bounds of a number.
    const std::string full_type = option->get_type_name();
    const std::string_view type = std::string_view(full_type).substr(0, full_type.find(':'));
    const std::string choices = choices_of(type);
    std::string branch = std::ranges::find(kPathTypes, type) == kPathTypes.end() ? "kind=any" : "kind=path";
    if (!choices.empty()) branch = str_cat("kind=choice choices='", choices, "'");
    branches += str_cat("        ", names, ") ", branch, " ;;\n");
  }
  return branches.empty() ? "" : str_cat("      case $previous in\n", branches, "      esac\n");
}

bool takes(const CLI::App& command, const char* positional) {
  const auto options = command.get_options();
  return std::ranges::any_of(options, [&](const CLI::Option* option) {
    return option->get_positional() && option->get_name(true).starts_with(positional);
  });
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::string names;
  std::string commands;
  std::string of_vms;
  std::string of_images;
  std::string of_both;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    const std::string& name = command->get_name();
    names += str_cat(names.empty() ? "" : " ", name);
    commands += str_cat("    ", name, ") options='", option_words(*command), "'\n", value_branches(*command),
                        "      ;;\n");
    if (takes(*command, "VM_OR_IMAGE")) {
      of_both += str_cat(of_both.empty() ? "" : "|", name);
      continue;
    }
    if (takes(*command, "VM")) of_vms += str_cat(of_vms.empty() ? "" : "|", name);
    if (takes(*command, "IMAGE")) of_images += str_cat(of_images.empty() ? "" : "|", name);
  }
  return str_cat(
      "# bash completion for layerboot; made by `layerboot completion`.\n"
      "_layerboot() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} options= kind= choices=\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '",
      names, option_words(app),
      "' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n",
      commands,
      "  esac\n"
      "  case $kind in\n"
      "    path) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
      "    choice) COMPREPLY=($(compgen -W \"$choices\" -- \"$word\")); return ;;\n"
      "    any) return ;;\n"
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n"
      "    ",
      of_vms,
      ")\n"
      "      COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" ps -a --quiet --names 2>/dev/null)\" -- "
      "\"$word\")) ;;\n"
      "    ",
      of_images,
      ")\n"
      "      COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" images --names 2>/dev/null)\" -- \"$word\")\n"
      "                 $(compgen -f -- \"$word\")) ;;\n"
      "    ",
      of_both,
      ")\n"
      "      COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" ps -a --quiet --names 2>/dev/null)\n"
      "                               $(\"${COMP_WORDS[0]}\" images --names 2>/dev/null)\" -- \"$word\")) "
      ";;\n"
      "  esac\n"
      "}\n"
      "complete -o filenames -F _layerboot layerboot\n");
}

}  // namespace layerboot::launcher
