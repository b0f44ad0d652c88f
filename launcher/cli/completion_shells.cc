// The completions for zsh and fish.
#include "launcher/cli/completion_parts.h"
#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

/// In single quotes of zsh and fish, and where zsh takes ':' '[' and ']' for its own.
std::string zsh_text(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    if (c == '\n') {
      safe += ' ';
    } else if (c == '\'') {
      safe += "'\\''";
    } else {
      if (c == ':' || c == '[' || c == ']' || c == '\\') safe += '\\';
      safe += c;
    }
  }
  return safe;
}

std::string fish_text(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    if (c == '\'' || c == '\\') safe += '\\';
    safe += c == '\n' ? ' ' : c;
  }
  return safe;
}

std::string zsh_value(const OptionValue& value) {
  const std::string type = zsh_text(value.type);
  switch (value.kind) {
    case ValueKind::kNone:
      return {};
    case ValueKind::kAny:
      return str_cat(":", type, ":");
    case ValueKind::kPath:
      return str_cat(":", type, ":_files");
    case ValueKind::kChoice:
      return str_cat(":", type, ":(", value.choices, ")");
  }
  return {};
}

std::string zsh_command(const CLI::App& command) {
  std::string text = str_cat("    ", command.get_name(), ")\n      _arguments");
  for (const CLI::Option* option : all_options(command)) {
    const OptionValue value = value_of(*option);
    for (const std::string& name : typed_names(*option)) {
      text += str_cat(" \\\n        '*", name, value.kind == ValueKind::kNone ? "" : "=", "[",
                      zsh_text(option->get_description()), "]", zsh_value(value), "'");
    }
  }
  const Subject subject = subject_of(command);
  const char* words = "_files";
  if (subject.vms) words = "_layerboot_vms";
  if (subject.images) words = "_layerboot_images";
  if (subject.vms && subject.images) words = "_layerboot_vms_and_images";
  return str_cat(text, " \\\n        '*: :", words, "' ;;\n");
}

constexpr const char* kFishVms = "(layerboot ps -a --quiet --names 2>/dev/null)";
constexpr const char* kFishImages = "(layerboot images --names 2>/dev/null)";

std::string fish_option(const std::string& condition, const CLI::Option& option) {
  std::string names;
  for (const std::string& name : option.get_lnames()) names += str_cat(" -l ", name);
  for (const std::string& name : option.get_snames()) names += str_cat(" -s ", name);
  if (names.empty()) return {};
  const OptionValue value = value_of(option);
  std::string words;
  if (value.kind == ValueKind::kAny) words = " -x";
  if (value.kind == ValueKind::kPath) words = " -r -F";
  if (value.kind == ValueKind::kChoice) words = str_cat(" -x -a '", value.choices, "'");
  return str_cat("complete -c layerboot -n '", condition, "'", names, words, " -d '",
                 fish_text(option.get_description()), "'\n");
}

}  // namespace

std::string zsh_completion(const CLI::App& app) {
  std::string names;
  std::string commands;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    names += str_cat("    '", command->get_name(), ":", zsh_text(command->get_description()), "'\n");
    commands += zsh_command(*command);
  }
  return str_cat(
      "#compdef layerboot\n"
      "# zsh completion for layerboot; made by `layerboot completion zsh`.\n"
      "_layerboot_vms() { compadd -- ${(f)\"$(layerboot ps -a --quiet --names 2>/dev/null)\"} }\n"
      "_layerboot_images() { compadd -- ${(f)\"$(layerboot images --names 2>/dev/null)\"}; _files }\n"
      "_layerboot_vms_and_images() { _layerboot_vms; _layerboot_images }\n"
      "_layerboot() {\n"
      "  local -a commands=(\n",
      names,
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $command in\n",
      commands,
      "  esac\n"
      "}\n"
      "if [ \"$funcstack[1]\" = _layerboot ]; then _layerboot \"$@\"; else compdef _layerboot layerboot; "
      "fi\n");
}

std::string fish_completion(const CLI::App& app) {
  std::string text =
      "# fish completion for layerboot; made by `layerboot completion fish`.\n"
      "complete -c layerboot -f\n";
  for (const CLI::Option* option : app.get_options()) text += fish_option("__fish_use_subcommand", *option);
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    const std::string& name = command->get_name();
    text += str_cat("complete -c layerboot -n __fish_use_subcommand -a ", name, " -d '",
                    fish_text(command->get_description()), "'\n");
    const std::string condition = str_cat("__fish_seen_subcommand_from ", name);
    for (const CLI::Option* option : all_options(*command)) text += fish_option(condition, *option);
    const Subject subject = subject_of(*command);
    if (subject.vms) text += str_cat("complete -c layerboot -n '", condition, "' -a '", kFishVms, "'\n");
    if (subject.images)
      text += str_cat("complete -c layerboot -n '", condition, "' -F -a '", kFishImages, "'\n");
  }
  return text;
}

}  // namespace layerboot::launcher
