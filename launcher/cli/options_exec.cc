// `layerboot exec` and `layerboot ssh`.

#include <unistd.h>

#include <memory>

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

/// What follows the VM's name is the program's own, whatever it looks like.
Result<void> take_command(Options& options, const CLI::App& app) {
  LB_TRY(check_name(options.name));
  auto words = app.remaining();
  // A `--` among them is one of the program's own.
  if (!words.empty() && !options.guest_command.empty()) words.emplace_back("--");
  options.guest_command.insert(options.guest_command.begin(), words.begin(), words.end());
  return {};
}

Result<void> settle_exec(Options& options, const CLI::App& exec) {
  LB_TRY(take_command(options, exec));
  auto& words = options.guest_command;
  for (const std::string& entry : options.environment) {
    if (entry.starts_with('=')) return fail(EINVAL, "--env ", entry, ": a name is missing");
  }
  if (!words.empty()) return {};
  words = {"/bin/sh"};
  options.interactive = true;
  options.terminal = ::isatty(STDIN_FILENO) != 0;
  return {};
}

}  // namespace

void add_ssh_command(CommandSet& commands) {
  Options& options = commands.options();
  auto ssh = std::make_shared<CLI::App*>(nullptr);
  *ssh = commands.add("ssh", Command::kSsh, "log in to a running VM with ssh, by way of its agent",
                      [ssh](Options& settled) { return take_command(settled, **ssh); });
  (*ssh)->prefix_command();
  (*ssh)->footer(
      "Needs an sshd in the image, not a running one, and no network. What follows VM is the command, as "
      "with "
      "ssh.");
  (*ssh)->add_option("VM", options.name, "the VM's name")->required();
  (*ssh)->add_option("-l,--login", options.user, "who logs in; default: root")->type_name("USER");
  (*ssh)->add_flag("--proxy", options.proxy, "be ssh's ProxyCommand");
}

void add_exec_command(CommandSet& commands) {
  Options& options = commands.options();
  // The check runs after CLI11 has filled in the command, which is not there yet when it is described.
  auto exec = std::make_shared<CLI::App*>(nullptr);
  *exec = commands.add("exec", Command::kExec, "run a program in a running VM; without one, a shell",
                       [exec](Options& settled) { return settle_exec(settled, **exec); });
  (*exec)->prefix_command();
  (*exec)->footer(
      "Exit status: the program's; 128 and the number of the signal that ended it; 127 not found, 126 not to "
      "be\n"
      "run, 125 the VM could not start it, 1 there is no such VM.");
  (*exec)->add_option("VM", options.name, "the VM's name")->required();
  (*exec)->add_flag("-i,--interactive", options.interactive, "hand standard input on to the program");
  (*exec)->add_flag("-t,--tty", options.terminal, "give the program a terminal");
  add_workload_options(*exec, options, "the program");
}

}  // namespace layerboot::launcher
