// The commands about VMs that exist: start, ps, logs, console, stop, kill, rm, inspect, reset and resize.

#include "launcher/cli/options_parts.h"
#include "launcher/vm/control_protocol.h"

namespace layerboot::launcher {

namespace {

void add_names(CLI::App* command, Options& options) {
  command->add_option("VM", options.names, "names, as ps shows them")->required()->type_name("NAME");
}

void add_name(CLI::App* command, Options& options) {
  command->add_option("VM", options.name, "its name, as ps shows it")->required()->type_name("NAME");
}

Result<void> check_names(Options& options) {
  for (const std::string& name : options.names) LB_TRY(check_name(name));
  return {};
}

Result<void> check_one_name(Options& options) { return check_name(options.name); }

void add_looking(CommandSet& commands) {
  Options& options = commands.options();
  auto* ps = commands.add("ps", Command::kPs, "list the VMs that run");
  ps->add_flag("-a,--all", options.all, "those that are stopped too");
  ps->add_flag("--json", options.json, "one JSON document instead of columns");
  ps->add_flag("--names", options.names_only, "the names alone, for scripts");
  auto* inspect =
      commands.add("inspect", Command::kInspect, "say all that is known of VMs or images, in JSON");
  inspect->add_flag("--json", options.json, "as it is in any case");
  inspect->add_option("VM_OR_IMAGE", options.names, "names of VMs, as ps shows them, else of images")
      ->required()
      ->type_name("NAME");
  auto* logs =
      commands.add("logs", Command::kLogs, "print what a VM has said on its console", check_one_name);
  add_name(logs, options);
  logs->add_flag("-f,--follow", options.follow, "go on until the VM ends, or Ctrl-C");
  logs->add_flag("--launcher", options.launcher_log,
                 "what launcher, daemon and QEMU have said instead, of a VM in the background");
  auto* console =
      commands.add("console", Command::kConsole, "join this terminal to a VM's console", check_one_name);
  console->footer("Ctrl-] three times within a second leaves the console; the VM goes on.");
  add_name(console, options);
}

void add_ending(CommandSet& commands) {
  Options& options = commands.options();
  auto* stop = commands.add("stop", Command::kStop, "power VMs off, in order", check_names);
  add_names(stop, options);
  stop->add_option("-t,--time", options.stop_seconds, "how long the guest may take; then it is cut off")
      ->check(CLI::Range(std::uint64_t{0}, kMaxStopSeconds))
      ->type_name("SECONDS")
      ->default_str("90");
  stop->footer(
      "Presses the guest's power button, and waits. Exit status: 0 all are off in order, 1 one had to be cut "
      "off\nor could not be stopped.");
  auto* kill =
      commands.add("kill", Command::kKill, "cut VMs off at once, as a power failure would", check_names);
  add_names(kill, options);
  auto* rm = commands.add("rm", Command::kRm, "remove VMs, and what they have written", check_names);
  add_names(rm, options);
  rm->add_flag("-f,--force", options.force, "also one that runs: it is cut off");
}

}  // namespace

void add_vm_commands(CommandSet& commands) {
  Options& options = commands.options();
  auto* start = commands.add("start", Command::kStart,
                             "start a VM again, as it was run last, in the background", check_one_name);
  add_name(start, options);
  auto* attach = start->add_flag("-a,--attach", options.attach, "in the foreground, with its console here");
  start
      ->add_flag_callback(
          "--detach", [&options] { options.attach = false; }, "in the background (the default)")
      ->excludes(attach);
  add_program_options(start, options);
  add_looking(commands);
  add_ending(commands);
  auto* reset = commands.add("reset", Command::kReset,
                             "forget what VMs have written, and keep their settings", check_names);
  add_names(reset, options);
  auto* resize = commands.add("resize", Command::kResize, "change how much a VM may write", check_one_name);
  add_name(resize, options);
  add_disk_size(
      resize, "SIZE", [&options](std::uint64_t size_bytes) { options.quota_bytes = size_bytes; },
      "the new bound, such as 8G")
      ->required();
}

}  // namespace layerboot::launcher
