#include "launcher/cli/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <sstream>
#include <vector>

#include "launcher/cli/options_parts.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/spelling.h"

namespace layerboot::launcher {

namespace {

/// CLI11 puts an option's names before what we say of it, which may begin with one of them: "-p,--publish:
/// --publish x: ...".
std::string_view without_repetition(std::string_view line) {
  const auto end = line.find(": ");
  if (end == std::string_view::npos) return line;
  const std::string_view names = line.substr(0, end);
  const std::string_view rest = line.substr(end + 2);
  const std::string_view word = rest.substr(0, rest.find_first_of(" :"));
  const bool is_named = word.starts_with("--") && (names == word || names.ends_with(str_cat(',', word)));
  return is_named ? rest : line;
}

ParsedCommandLine misuse(std::string_view text) {
  std::string line(without_repetition(text));
  std::ranges::replace(line, '\n', ' ');
  const bool says_where = line.contains("see layerboot ");
  return {.options = {},
          .text = str_cat("layerboot: error: ", line, says_where ? "" : " (see layerboot --help)", "\n"),
          .exit_code = kExitUsage};
}

/// What follows `--` is the guest's where a command for it is taken, and no option of ours; to `packaged` all
/// is. Gives the number of words before.
int take_guest_command(int argc, const char* const* argv, Options& options) {
  const std::string_view name = argc < 2 ? "" : argv[1];
  const std::string_view second = argc < 3 ? "" : argv[2];
  if (name == "packaged" && second != "-h" && second != "--help") {
    options.guest_command.assign(argv + 2, argv + argc);
    return 2;
  }
  if (name != "run" && name != "exec" && name != "ssh" && name != "docker" && name != "package" &&
      name != "build")
    return argc;
  const char* const* end = argv + argc;
  const char* const* mark =
      std::find_if(argv, end, [](const char* word) { return std::string_view(word) == "--"; });
  if (mark == end) return argc;
  options.guest_command.assign(mark + 1, end);
  return static_cast<int>(mark - argv);
}

/// The words from the first that is neither an option nor IMAGE on: `run IMAGE COMMAND ARGUMENTS…`, as docker
/// has it. What came after a `--` follows them.
Result<void> take_free_words(const CLI::App& app, Options& options) {
  const auto* run = app.get_subcommand("run");
  std::vector<std::string> words = run->remaining();
  if (words.empty()) return {};
  LB_TRY(check_no_option(*run, words.front()));
  if (!options.guest_command.empty()) words.emplace_back("--");
  words.insert(words.end(), options.guest_command.begin(), options.guest_command.end());
  options.guest_command = std::move(words);
  return {};
}

/// Of `run`, that was given, what CLI11 has for each of its options.
std::vector<GivenOption> given_options(const CLI::App& app) {
  std::vector<GivenOption> given;
  for (const CLI::App* command : app.get_subcommands()) {
    if (command->get_name() != "run") continue;
    for (const CLI::Option* option : command->get_options()) {
      const bool is_named = option->count() > 0 && !option->get_lnames().empty();
      if (is_named)
        given.push_back({.name = "--" + option->get_lnames().front(), .values = option->results()});
    }
  }
  return given;
}

struct CommandGroup {
  const char* title;
  std::vector<std::string_view> commands;
};

/// What the help shows together, what one needs first at the beginning. Others are below "Subcommands".
void group_commands(CLI::App& app) {
  static const std::vector<CommandGroup> groups = {
      {"Run VMs", {"run", "exec", "cp", "ssh", "docker", "start", "stop", "restart", "kill", "wait", "rm"}},
      {"Look at VMs", {"ps", "logs", "console", "inspect", "stats", "events"}},
      {"Change VMs", {"rename", "reset", "resize", "volume"}},
      {"Images",
       {"pull", "push", "images", "tag", "rmi", "history", "verify", "save", "load", "build", "commit", "gc",
        "disk", "package"}}};
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    command->group("Further");
    for (const CommandGroup& group : groups) {
      if (std::ranges::find(group.commands, command->get_name()) != group.commands.end())
        command->group(group.title);
    }
  }
}

/// Of an option that takes one value and comes twice the last counts, as with docker; a container's options
/// may come twice, packaged and given.
void take_last_of_each(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    take_last_of_each(*command);
    for (CLI::Option* option : command->get_options()) {
      const bool takes_one = !option->get_positional() && option->get_items_expected_max() == 1;
      if (takes_one) option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
  }
}

/// Nothing, if the first word is one of our commands, or none of any kind.
std::optional<std::string> unknown_command(const CLI::App& app, int argc, const char* const* argv) {
  if (argc < 2 || argv[1][0] == '-') return {};
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  if (std::ranges::find(names, argv[1]) != names.end()) return {};
  return str_cat("no command ", printable(argv[1]), did_you_mean(argv[1], names));
}

/// CLI11 names what it did not expect; what was meant is for us to say.
std::string with_near_options(const CLI::App& app, const CLI::ParseError& error) {
  std::string text = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr) return text;
  std::vector<std::string> names;
  std::vector<std::string> unexpected;
  for (const CLI::App* command : app.get_subcommands()) {
    unexpected = command->remaining();
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  for (const std::string& word : unexpected) {
    if (word.starts_with("--")) return text + did_you_mean(word.substr(0, word.find('=')), names);
  }
  return text;
}

/// `options`: what is known before.
ParsedCommandLine parse(Options options, int argc, const char* const* argv, const ConfigFile& config) {
  CLI::App app("Boots virtual machines straight from stock container images.", "layerboot");
  app.set_version_flag("--version", "layerboot " LAYERBOOT_VERSION);
  app.require_subcommand(0, 1);
  CommandSet commands(app, options);
  try {
    add_run_command(commands);
    add_vm_commands(commands);
    add_serve_commands(commands);
    add_store_commands(commands);
    add_image_commands(commands);
    add_disk_commands(commands);
    add_package_commands(commands);
    add_exec_command(commands);
    add_ssh_command(commands);
    add_docker_command(commands);
    add_cp_command(commands);
    add_volume_command(commands);
    add_events_command(commands);
    group_commands(app);
    take_last_of_each(app);
    if (const auto unknown = unknown_command(app, argc, argv)) return misuse(*unknown);
    app.parse(take_guest_command(argc, argv, options), argv);
    const bool typed_terminal = options.terminal;
    if (const auto applied = apply_config_file(app, config); !applied)
      return misuse(applied.error().describe());
    // As a default it is for who has one.
    if (!typed_terminal && ::isatty(STDIN_FILENO) == 0) options.terminal = false;
    options.given = given_options(app);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return misuse(with_near_options(app, error));
    std::ostringstream help;
    std::ostringstream ignored;
    app.exit(error, help, ignored);
    return {.options = {}, .text = help.str(), .exit_code = 0};
  } catch (const CLI::Error& error) {
    return misuse(error.what());
  }
  if (const auto taken = take_free_words(app, options); !taken) return misuse(taken.error().describe());
  if (const auto settled = commands.settle(); !settled) return misuse(settled.error().describe());
  if (options.command == Command::kCompletion) {
    return {.options = {}, .text = completion(app, options.shell), .exit_code = 0};
  }
  return {.options = std::move(options), .text = {}, .exit_code = 0};
}

}  // namespace

Result<void> check_no_option(const CLI::App& command, const std::string& word) {
  if (!word.starts_with('-')) return {};
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  const std::string near = did_you_mean(word.substr(0, word.find('=')), names);
  return fail(EINVAL, command.get_name(), ": unknown option ", printable(word), near,
              near.empty() ? str_cat(": see layerboot ", command.get_name(), " --help") : "");
}

bool was_given(const Options& options, std::string_view name) {
  return std::ranges::find(options.given, name, &GivenOption::name) != options.given.end();
}

ParsedCommandLine parse_command_line(int argc, const char* const* argv, const ConfigFile& config) {
  return parse({}, argc, argv, config);
}

ParsedCommandLine parse_run_words(const std::vector<std::string>& words, const std::string& image,
                                  const std::vector<std::string>& command) {
  std::vector<const char*> argv = {"layerboot", "run"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  if (!command.empty()) argv.push_back("--");
  for (const std::string& word : command) argv.push_back(word.c_str());
  Options known;
  known.image = image;
  return parse(std::move(known), static_cast<int>(argv.size()), argv.data(), {});
}

}  // namespace layerboot::launcher
