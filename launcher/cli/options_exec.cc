// `layerboot exec`, `layerboot ssh` and `layerboot docker`.

#include <unistd.h>

#include <memory>

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

/// From the first word behind the VM's name that is no option, the words are the program's own.
Result<void> take_command(Options& options, const CLI::App& app) {
  LB_TRY(check_name(options.name));
  auto words = app.remaining();
  // Those of a docker may be its own; all others have theirs.
  if (!words.empty() && app.get_name() != "docker") LB_TRY(check_no_option(app, words.front()));
  // A `--` among them is one of the program's own.
  if (!words.empty() && !options.guest_command.empty()) words.emplace_back("--");
  options.guest_command.insert(options.guest_command.begin(), words.begin(), words.end());
  return {};
}

Result<void> settle_exec(Options& options, const CLI::App& exec) {
  LB_TRY(take_command(options, exec));
  auto& words = options.guest_command;
  LB_TRY(settle_environment(options));
  if (options.probe && !words.empty())
    return fail(EINVAL, "exec: --probe runs nothing: leave it out to run ", words.front());
  if (words.empty() && options.detach) return fail(EINVAL, "exec: --detach needs a COMMAND");
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

void add_docker_command(CommandSet& commands) {
  Options& options = commands.options();
  auto docker = std::make_shared<CLI::App*>(nullptr);
  *docker = commands.add("docker", Command::kDocker, "use the Docker engine of a VM of run --docker",
                         [docker](Options& settled) { return take_command(settled, **docker); });
  (*docker)->prefix_command();
  (*docker)->footer(
      "What follows VM is docker's: layerboot docker VM ps -a. This host's docker, if it has one, else the "
      "VM's.");
  (*docker)->add_option("VM", options.name, "the VM's name")->required();
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
  auto* input =
      (*exec)->add_flag("-i,--interactive", options.interactive, "hand standard input on to the program");
  auto* terminal = (*exec)->add_flag("-t,--tty", options.terminal, "give the program a terminal");
  // Nobody is there to hand on input, or to show a terminal to.
  auto* detach =
      (*exec)
          ->add_flag("-d,--detach", options.detach,
                     "leave the program to itself: its output is nobody's, and 0 says that it runs")
          ->excludes(input)
          ->excludes(terminal);
  auto* probe =
      (*exec)
          ->add_flag("--probe", options.probe,
                     "run nothing: 0 says that the VM's agent answers, which it does once the guest "
                     "has begun")
          ->excludes(input)
          ->excludes(terminal)
          ->excludes(detach);
  add_workload_options(*exec, options, "the program");
  for (const char* of_a_program : {"--env", "--env-file", "--user", "--workdir"})
    probe->excludes((*exec)->get_option(of_a_program));
}

void add_cp_command(CommandSet& commands) {
  Options& options = commands.options();
  auto* cp = commands.add("cp", Command::kCp, "copy files into a running VM, or out of it");
  cp->add_option("FROM", options.copy_from, "VM:PATH or a path here; - for a tar on standard input")
      ->required();
  cp->add_option("TO", options.copy_to, "the other; - for a tar on standard output")->required();
  cp->add_flag("-a,--archive", options.archive, "keep owners too; else files are root's, or here yours");
  cp->add_flag("-L,--follow-link", options.follow_link, "a symlink at the end of FROM is followed");
  cp->footer(
      "As docker cp: into TO where that is a directory, else under its name; 'DIR/.' is what DIR holds.\n"
      "Works with every image, by the VM's agent. Exit status: 1 something could not be copied.");
}

}  // namespace layerboot::launcher
