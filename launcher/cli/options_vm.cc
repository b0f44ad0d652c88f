// The commands about VMs that exist: start, ps, logs, console, stop, kill, rm, inspect, reset and resize.

#include "launcher/cli/options_parts.h"
#include "launcher/cli/vm_rows.h"
#include "launcher/vm/control_protocol.h"
#include "oci-mount/base/decimal.h"

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

Result<void> check_started(Options& options) {
  LB_TRY(check_names(options));
  if (!options.attach || options.names.size() == 1) return {};
  return fail(EINVAL, "start: --attach is for one VM");
}

Result<void> check_one_name(Options& options) { return check_name(options.name); }

/// One of them says how what is listed is written; another would be dropped.
void exclude_each_other(std::initializer_list<CLI::Option*> options) {
  for (CLI::Option* one : options) {
    for (CLI::Option* other : options) {
      if (one != other) one->excludes(other);
    }
  }
}

void add_looking(CommandSet& commands) {
  Options& options = commands.options();
  auto* ps = commands.add("ps", Command::kPs, "list the VMs that run", check_vm_list);
  ps->add_flag("-a,--all", options.all, "those that are stopped too");
  auto* json = ps->add_flag("--json", options.json, "one JSON document instead of columns");
  auto* names = ps->add_flag("--names", options.names_only, "the names alone, for scripts");
  ps->add_option("--filter", options.filters,
                 "KEY=VALUE: name, image, label or state; of one key any, of several all (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("FILTER");
  auto* format =
      ps->add_option("--format", options.format, "a line of your own, such as '{{.Name}}: {{.Status}}'")
          ->type_name("TEMPLATE");
  exclude_each_other({json, names, format});
  ps->add_flag("--no-trunc", options.no_trunc, "whole names of images");
  ps->footer(str_cat("The fields of a TEMPLATE: ", ListTemplate<VmRow>::names_of(vm_fields())));
  auto* inspect =
      commands.add("inspect", Command::kInspect, "say all that is known of VMs or images, in JSON");
  inspect->add_flag("--json", options.json, "as it is in any case");
  inspect->add_option("VM_OR_IMAGE", options.names, "names of VMs, as ps shows them, else of images")
      ->required()
      ->type_name("NAME");
  auto* stats =
      commands.add("stats", Command::kStats, "show what running VMs use, anew each second", check_names);
  stats->add_option("VM", options.names, "names, as ps shows them; default: all that run")->type_name("NAME");
  stats->add_flag("--no-stream", options.no_stream, "once, and no more");
  stats->add_flag("--json", options.json, "one JSON document a line");
  auto* logs =
      commands.add("logs", Command::kLogs, "print what a VM has said on its console", check_one_name);
  add_name(logs, options);
  auto* follow = logs->add_flag("-f,--follow", options.follow, "go on until the VM ends, or Ctrl-C");
  logs->add_option_function<std::string>(
          "-n,--tail",
          [&options](const std::string& text) {
            if (text == "all") return;
            const auto lines = parse_decimal(text, UINT32_MAX);
            if (!lines)
              throw CLI::ValidationError("--tail", str_cat("'", text, "' is neither a number nor all"));
            options.tail = *lines;
          },
          "so many lines at the end; default: all")
      ->type_name("LINES");
  auto* since = add_time(logs, "--since", options.since,
                         "what was said from then on: 10m or 1h30m ago, or 2026-11-29T10:00:00Z");
  auto* stamps = logs->add_flag("-t,--timestamps", options.timestamps, "when each line began, before it");
  // Of that log nobody keeps when its lines were written.
  logs->add_flag("--launcher", options.launcher_log,
                 "what launcher, daemon and QEMU have said instead, of a VM in the background")
      ->excludes(follow)
      ->excludes(since)
      ->excludes(stamps);
  logs->add_flag("--raw", options.raw,
                 "the bytes as they are to a terminal too, which whatever is among them can command");
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
  auto* restart = commands.add("restart", Command::kRestart,
                               "stop VMs and start them again, as they were run last", check_names);
  add_names(restart, options);
  restart->add_option("-t,--time", options.stop_seconds, "how long the guest may take to stop")
      ->check(CLI::Range(std::uint64_t{0}, kMaxStopSeconds))
      ->type_name("SECONDS")
      ->default_str("90");
  add_program_options(restart, options);
  auto* wait = commands.add("wait", Command::kWait, "wait for VMs to end, and print each one's exit status",
                            check_names);
  add_names(wait, options);
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
                             "start VMs again, as they were run last, in the background", check_started);
  add_names(start, options);
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
  auto* rename = commands.add("rename", Command::kRename, "give a stopped VM another name",
                              [](Options& settled) -> Result<void> {
                                LB_TRY(check_name(settled.name));
                                return check_name(settled.new_name);
                              });
  add_name(rename, options);
  rename->add_option("NEW", options.new_name, "its name from now on")->required()->type_name("NAME");
  auto* resize = commands.add("resize", Command::kResize, "change how much a VM may write", check_one_name);
  add_name(resize, options);
  add_disk_size(
      resize, "SIZE", [&options](std::uint64_t size_bytes) { options.quota_bytes = size_bytes; },
      "the new bound, such as 8G")
      ->required();
}

void add_volume_command(CommandSet& commands) {
  Options& options = commands.options();
  auto* volume =
      commands.add("volume", Command::kVolume, "look after the volumes that are kept here",
                   [](Options& settled) -> Result<void> {
                     const bool lists = settled.action == "ls";
                     if (!lists && (settled.json || settled.names_only))
                       return fail(EINVAL, "volume ", settled.action, ": --json and --names are for ls");
                     if (lists == settled.names.empty()) return {};
                     return fail(EINVAL, lists ? "volume ls takes no names"
                                               : str_cat("volume ", settled.action, ": give names"));
                   });
  volume->add_option("ACTION", options.action, "ls, create or rm")
      ->required()
      ->check(CLI::IsMember({"ls", "create", "rm"}));
  volume->add_option("NAME", options.names, "names of volumes");
  auto* json = volume->add_flag("--json", options.json, "one JSON document instead of columns");
  auto* names = volume->add_flag("--names", options.names_only, "the names alone, for scripts");
  exclude_each_other({json, names});
  volume->footer("run -v NAME:GUEST makes a volume that is not there. rm refuses one that a VM has.");
}

}  // namespace layerboot::launcher
