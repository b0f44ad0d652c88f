#include "guest-init/cmdline.h"

namespace guest_init {

namespace {

/// One parameter without its quotes; `line` moves past it.
std::string next_word(std::string_view& line) {
  std::string word;
  bool quoted = false;
  std::size_t at = 0;
  for (; at < line.size(); ++at) {
    const char c = line[at];
    if (c == '"') {
      quoted = !quoted;
      continue;
    }
    if (!quoted && (c == ' ' || c == '\t' || c == '\n')) break;
    word += c;
  }
  line.remove_prefix(at);
  return word;
}

void skip_blanks(std::string_view& line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t' || line.front() == '\n'))
    line.remove_prefix(1);
}

void apply(BootOptions& options, bool& type_given, std::string_view word) {
  const std::size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string value(equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1));
  if (equals == std::string_view::npos) {
    if (name == "ro") options.read_only = true;
    if (name == "rw") options.read_only = false;
    if (name == "single") options.single = true;
    if (name == "layerboot.probe") options.probe = true;
    return;
  }
  if (value.empty()) return;
  if (name == "root") options.root = value;
  if (name == "rootflags") options.root_flags = value;
  if (name == "init") options.init = value;
  if (name == "rootfstype") {
    options.root_type = value;
    type_given = true;
  }
}

}  // namespace

BootOptions parse_command_line(std::string_view line) {
  BootOptions options;
  bool type_given = false;
  bool for_init = false;
  for (skip_blanks(line); !line.empty(); skip_blanks(line)) {
    std::string word = next_word(line);
    if (for_init) {
      options.init_arguments.push_back(std::move(word));
    } else if (word == "--") {
      for_init = true;
    } else {
      apply(options, type_given, word);
    }
  }
  if (!type_given && options.root.starts_with("/dev/")) options.root_type = "ext4";
  return options;
}

}  // namespace guest_init
