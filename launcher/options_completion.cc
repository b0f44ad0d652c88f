// The completion of layerboot's command line for bash, made out of its own description.

#include <algorithm>

#include "launcher/options_parts.h"

namespace layerboot::launcher {

namespace {

/// Every name that begins with '-', of options that the help shows.
std::string option_words(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) words += str_cat(" --", name);
    for (const std::string& name : option->get_snames()) words += str_cat(" -", name);
  }
  return words;
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
  std::string options;
  std::string of_vms;
  std::string of_images;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    const std::string& name = command->get_name();
    names += str_cat(' ', name);
    options += str_cat("    ", name, ") options='", option_words(*command), "' ;;\n");
    if (takes(*command, "VM")) of_vms += str_cat(of_vms.empty() ? "" : "|", name);
    if (takes(*command, "IMAGE")) of_images += str_cat(of_images.empty() ? "" : "|", name);
  }
  return str_cat(
      "# bash completion for layerboot; made by `layerboot completion`.\n"
      "_layerboot() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} options=\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '",
      names,
      " --help --version' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n",
      options,
      "  esac\n"
      "  case $previous in\n"
      "    --vfsd|--guest-init|--qemu|--oci-mount|--socket-path|--ssh-key|-v|--volume|-w|--workdir)\n"
      "      COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
      "    --accel) COMPREPLY=($(compgen -W 'auto kvm tcg' -- \"$word\")); return ;;\n"
      "    --machine) COMPREPLY=($(compgen -W 'auto q35 microvm' -- \"$word\")); return ;;\n"
      "    --net) COMPREPLY=($(compgen -W 'user passt tap= none' -- \"$word\")); return ;;\n"
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
      "  esac\n"
      "}\n"
      "complete -o filenames -F _layerboot layerboot\n");
}

}  // namespace layerboot::launcher
