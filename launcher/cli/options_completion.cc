// The completion of layerboot's command line for bash, made out of its own description.

#include <set>

#include "launcher/cli/completion_parts.h"
#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

std::string joined(const std::vector<std::string>& words, char separator) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

std::string words_for(const std::vector<const CLI::Option*>& options) {
  std::string words;
  std::set<std::string> seen;  // the words of a group share some
  for (const CLI::Option* option : options) {
    for (const std::string& name : typed_names(*option)) {
      if (seen.insert(name).second) words += str_cat(' ', name);
    }
  }
  return words;
}

/// What may follow the command's name.
std::string following_words(const CLI::App& command) {
  std::string words;
  for (const CLI::App* second : command.get_subcommands(nullptr)) words += str_cat(' ', second->get_name());
  return words + words_for(all_options(command));
}

/// What the word after one of the command's options may be, as branches of a `case`.
std::string value_branches(const CLI::App& command) {
  std::string branches;
  for (const CLI::Option* option : all_options(command)) {
    const std::string names = joined(typed_names(*option), '|');
    const OptionValue value = value_of(*option);
    if (names.empty() || value.kind == ValueKind::kNone) continue;
    std::string branch = value.kind == ValueKind::kPath ? "kind=path" : "kind=any";
    if (value.kind == ValueKind::kChoice) branch = str_cat("kind=choice choices='", value.choices, "'");
    branches += str_cat("        ", names, ") ", branch, " ;;\n");
  }
  return branches.empty() ? "" : str_cat("      case $previous in\n", branches, "      esac\n");
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  const auto own = app.get_options();
  std::string names;
  std::string commands;
  std::string of_vms;
  std::string of_images;
  std::string of_both;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    const std::string& name = command->get_name();
    names += str_cat(names.empty() ? "" : " ", name);
    commands += str_cat("    ", name, ") options='", following_words(*command), "'\n",
                        value_branches(*command), "      ;;\n");
    const Subject subject = subject_of(*command);
    if (!subject.vms && !subject.images) continue;
    std::string& list = subject.vms && subject.images ? of_both : subject.vms ? of_vms : of_images;
    list += str_cat(list.empty() ? "" : "|", name);
  }
  return str_cat(
      "# bash completion for layerboot; made by `layerboot completion`.\n"
      "_layerboot() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} options= kind= choices=\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '",
      names, words_for({own.begin(), own.end()}),
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
