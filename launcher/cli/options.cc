#include "launcher/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

ParsedCommandLine misuse(std::string_view text) {
  std::string line(text);
  std::ranges::replace(line, '\n', ' ');
  return {.options = {},
          .text = str_cat("layerboot: error: ", line, " (see layerboot --help)\n"),
          .exit_code = kExitUsage};
}

/// What follows `--` is the guest's where a command for it is taken, and no option of ours. Gives the number
/// of words before.
int take_guest_command(int argc, const char* const* argv, Options& options) {
  const std::string_view name = argc < 2 ? "" : argv[1];
  if (name != "run" && name != "exec" && name != "ssh") return argc;
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
  if (words.front().starts_with('-')) return fail(EINVAL, "run: unknown option ", words.front());
  if (!options.guest_command.empty()) words.emplace_back("--");
  words.insert(words.end(), options.guest_command.begin(), options.guest_command.end());
  options.guest_command = std::move(words);
  return {};
}

}  // namespace

ParsedCommandLine parse_command_line(int argc, const char* const* argv) {
  Options options;
  CLI::App app("Boots virtual machines straight from stock container images.", "layerboot");
  app.set_version_flag("--version", "layerboot " LAYERBOOT_VERSION);
  app.require_subcommand(0, 1);
  CommandSet commands(app, options);
  try {
    add_run_command(commands);
    add_vm_commands(commands);
    add_serve_commands(commands);
    add_store_commands(commands);
    add_disk_commands(commands);
    add_exec_command(commands);
    add_ssh_command(commands);
    app.parse(take_guest_command(argc, argv, options), argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return misuse(error.what());
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
    return {.options = {}, .text = bash_completion(app), .exit_code = 0};
  }
  return {.options = std::move(options), .text = {}, .exit_code = 0};
}

}  // namespace layerboot::launcher
