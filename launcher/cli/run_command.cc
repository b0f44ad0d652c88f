#include "launcher/cli/run_command.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "launcher/cli/disk_command.h"
#include "launcher/cli/docker_command.h"
#include "launcher/cli/host_settings.h"
#include "launcher/cli/run_events.h"
#include "launcher/cli/run_plan.h"
#include "launcher/cli/store_commands.h"
#include "launcher/cli/up_wait.h"
#include "launcher/cli/upper_settings.h"
#include "launcher/cli/written_content.h"
#include "launcher/disk/disk_vm.h"
#include "launcher/disk/swap_disk.h"
#include "launcher/disk/upper_disk.h"
#include "launcher/export/libvirt_domain.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/time_text.h"
#include "launcher/host/unix_socket.h"
#include "launcher/images/built_images.h"
#include "launcher/supervise/detach.h"
#include "launcher/supervise/janitor.h"
#include "launcher/supervise/restart_pause.h"
#include "launcher/supervise/supervisor.h"
#include "launcher/vm/last_run.h"
#include "launcher/vm/named_volumes.h"
#include "launcher/vm/vm_directory.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

/// Throw-away VMs of one image at a time, and those that a killed launcher left.
constexpr unsigned kMaxThrowAways = 1000;
/// Before a VM is started again: twice as long each time, unless it ran for a while.
constexpr std::chrono::milliseconds kLeastPause{500};
constexpr std::chrono::milliseconds kMostPause{60'000};
constexpr std::chrono::seconds kLongRun{10};

/// Where `serve` listens when nothing else was said.
std::filesystem::path serving_socket(const StateDirs& dirs) { return dirs.runtime / "virtiofs.sock"; }

/// `options` with the image that is there then: fetched into the store, if need be.
Result<Options> with_image(const StateDirs& dirs, const Options& options) {
  Options supplied = options;
  if (options.image.empty() && options.docker) {
    LB_ASSIGN(supplied.image, supply_docker_image(dirs));
  }
  if (options.image.empty()) return supplied;
  LB_ASSIGN(supplied.image, supply_image(dirs, options.image, supply_options(options)));
  return supplied;
}

/// Runs the plan, and notes how it went.
Result<int> carry_through(SupervisorPlan& plan, const VmDirectory& directory, RunEvents& events,
                          std::uint64_t swap_bytes) {
  LastRun run;
  run.started = seconds_now();
  // Where others can look and stop already: between two runs of a VM there is to be no moment without.
  plan.on_ready = [&]() -> Result<void> {
    // The QEMU before may have written to it since prepare_disk_vm().
    if (plan.disk_root) LB_TRY(check_root_disk(directory.paths()));
    LB_TRY(save_last_run(directory.paths().last_run(), run));
    return swap_bytes == 0 ? Result<void>() : make_swap_disk(directory.paths().swap_disk(), swap_bytes);
  };
  plan.on_ended = [&](const Result<int>& outcome) {
    // Of a QEMU that never ran.
    ::unlink(directory.paths().swap_disk().c_str());
    run.ended = seconds_now();
    run.exit_status = outcome ? *outcome : 1;
    if (!outcome) run.error = end_text(outcome.error());
    if (const auto saved = save_last_run(directory.paths().last_run(), run); !saved) {
      log_warn(saved.error().describe());
    }
    events.ended(outcome);
  };
  return supervise(plan);
}

/// Whether the end of a run is to be followed by another one.
bool wants_restart(const RunSettings& settings, const Result<int>& outcome, unsigned restarts) {
  if (settings.restart == RestartPolicy::kNo) return false;
  if (settings.restart == RestartPolicy::kAlways) return true;
  const bool failed = !outcome || *outcome != 0;
  return failed && (settings.restart_limit == 0 || restarts < settings.restart_limit);
}

/// Runs the plan, and again as `settings` say, until somebody asks for the end. A VM that never came up is
/// not tried again.
Result<int> keep_running(SupervisorPlan& plan, const VmDirectory& directory, const RunSettings& settings,
                         RunEvents& events) {
  bool stop_asked = false;
  bool came_up = false;
  plan.stop_asked = &stop_asked;
  plan.on_reboot = [&events] { events.rebooted(); };
  plan.on_started = [&came_up, &events, &directory, first = std::move(plan.on_started)]() -> Result<void> {
    // QEMU has it open: whichever way the run ends, nothing of it is left.
    ::unlink(directory.paths().swap_disk().c_str());
    if (came_up) {
      events.started(false);
      return {};
    }
    LB_TRY(first());
    came_up = true;
    return {};
  };
  auto pause = kLeastPause;
  for (unsigned restarts = 0;; ++restarts) {
    const auto begun = std::chrono::steady_clock::now();
    auto outcome = carry_through(plan, directory, events, settings.swap_bytes);
    if (stop_asked || !came_up || !wants_restart(settings, outcome, restarts)) return outcome;
    pause =
        std::chrono::steady_clock::now() - begun > kLongRun ? kLeastPause : std::min(2 * pause, kMostPause);
    const std::string how = outcome ? str_cat("with status ", *outcome) : outcome.error().describe();
    log_info("the VM has ended (", how, ") and is started again in ", pause.count(), " ms");
    LB_ASSIGN(const bool go_on, pause_before_restart(plan.control_socket, pause));
    if (!go_on) return outcome;
  }
}

/// keep_running(), with somebody beside who clears up when this process is killed.
Result<int> watched_over(SupervisorPlan& plan, const VmDirectory& directory, const RunSettings& settings,
                         RunEvents& events) {
  LB_ASSIGN(const Janitor janitor, Janitor::start(directory.paths(), events.killed()));
  return keep_running(plan, directory, settings, events);
}

/// Of a VM that is known, as it was last run: exporting it must not change what it is.
Result<Options> exported_options(const StateDirs& dirs, const Options& options) {
  const auto vm = look_at_vm(dirs, options.name);
  const bool is_new = !vm || (!vm->record && vm->record.error().code == ENOENT);
  if (is_new && !options.image.empty()) return with_image(dirs, options);
  if (!vm) return std::unexpected(vm.error());
  LB_ASSIGN(const VmRecord record, vm->record);
  if (options.disk_root && !record.run.disk_root) {
    return fail(EINVAL, "VM ", options.name, " has its root on virtiofs: export it without --disk-image, or ",
                "another VM with it");
  }
  Options chosen = options;
  static_cast<RunSettings&>(chosen) = record.run;
  if (chosen.image.empty()) chosen.image = image_to_go_on_from(dirs, record);
  chosen.accel_choice = options.accel_choice;
  return chosen;
}

/// What a domain has, by settings_to_json(), or what is libvirt's to say. What is not here needs the launcher
/// beside the VM, or is added to the domain by hand.
constexpr auto kOfDomains = std::to_array<std::string_view>(
    {"cpus",      "memory_bytes", "kernel",      "platform",     "binfmt",
     "append",    "accel",        "require_kvm", "net",          "hostname",
     "boot",      "cgroup_v1",    "ssh_keys",    "volumes",      "tmpfs",
     "published", "publish_all",  "hosts",       "dns",          "labels",
     "disk_root", "disk_format",  "no_initrd",   "restart",      "root_password_hash",
     "autologin", "writeback",    "upper",       "remove_at_end"});

void tell_left_out(const std::string& name, const RunSettings& settings) {
  std::string left_out;
  for (const std::string& option : settings_beside(settings, kOfDomains))
    left_out += str_cat(left_out.empty() ? "" : ", ", option);
  if (!left_out.empty())
    log_warn("left out is what VM ", name, " has by ", left_out,
             ": it is the launcher's, or to be added to the domain");
}

/// The VM's directory. What is to go at the end is this run's own: with --rm a VM that is there is not taken,
/// and a name that nobody chose is changed (`options`) until it is free.
Result<VmDirectory> directory_for(const StateDirs& dirs, Options& options) {
  if (!options.remove_at_end) return VmDirectory::open(dirs, options.name);
  const std::string wanted = options.name;
  for (unsigned number = 2;; ++number) {
    auto made = VmDirectory::create(dirs, options.name);
    if (made || made.error().code != EEXIST) return made;
    if (options.name_given || number > kMaxThrowAways) {
      return fail(EEXIST, "VM ", options.name, " is there already, and --rm would remove it at the end: ",
                  "take another --name, leave out --rm, or 'layerboot rm ", options.name, "' first");
    }
    const std::string suffix = str_cat('-', number);
    options.name = wanted.substr(0, kMaxNameLength - suffix.size()) + suffix;
  }
}

/// What whoever started the VM waits for, and is told.
Result<int> started_in_background(const StateDirs& dirs, const Options& options, Timeline& timeline) {
  const std::chrono::seconds bound(options.wait_seconds);
  if (options.wait || options.docker) LB_TRY(wait_until_up(dirs, options.name, bound));
  if (!options.docker) {
    std::printf("%s\n", options.name.c_str());
    return 0;
  }
  timeline.mark("the guest is up");
  LB_TRY(wait_for_docker(dirs, options.name, bound));
  timeline.mark("its Docker engine answers");
  if (options.timing) std::fputs(timeline.table().c_str(), stderr);
  std::printf("export DOCKER_HOST=%s\n", docker_host(dirs, options.name).c_str());
  return 0;
}

}  // namespace

Result<int> run_vm(const StateDirs& dirs, const Options& asked) {
  Timeline timeline;
  // Ctrl-C while things are prepared is felt once `directory` has been cleared up.
  std::optional<InterruptScope> interrupts(std::in_place);
  LB_ASSIGN(Options options, with_image(dirs, asked));
  LB_ASSIGN(VmDirectory directory, directory_for(dirs, options));
  LB_TRY(directory.throw_away_ephemeral());
  LB_ASSIGN(options, with_upper(directory, options));
  LB_TRY(settle_on_host(dirs, options));
  LB_ASSIGN(const auto volumes, hold_named_volumes(options));
  LB_ASSIGN(SupervisorPlan plan, plan_for(dirs, options, directory));
  LB_TRY(InterruptScope::check());
  interrupts.reset();
  timeline.mark("image, kernel and arguments");
  plan.timeline = &timeline;
  std::optional<Detachment> detached;
  if (options.detach) {
    LB_ASSIGN(detached, Detachment::split(directory.paths().launcher_log()));
    if (!detached->is_child()) {
      directory.leave_to_child();
      LB_TRY(detached->wait_started());
      return started_in_background(dirs, options, timeline);
    }
    plan.console_input = -1;
    plan.console_output = -1;
    plan.launcher_log = directory.paths().launcher_log();
  }
  RunEvents events(options, directory);
  plan.on_started = [&, keep = std::move(plan.on_started)]() -> Result<void> {
    const bool is_new = directory.is_fresh();
    LB_TRY(keep());
    // Before whoever waits is told, and may ask for them.
    events.started(is_new);
    return detached ? detached->started() : Result<void>();
  };
  const auto status = watched_over(plan, directory, options, events);
  if (!status && detached) detached->failed(status.error());
  // On standard error, where it does not mix with what the guest says; at the end, where it is read.
  if (options.timing) std::fputs(timeline.table().c_str(), stderr);
  if (!options.remove_at_end) {
    LB_TRY(directory.throw_away_ephemeral());
    return status;
  }
  LB_TRY(directory.remove());
  events.removed();
  return status;
}

Result<int> start_vm(const StateDirs& dirs, const Options& options) {
  // Looked at before it is locked, which would make it.
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, options.name));
  LB_ASSIGN(const VmRecord record, vm.record);
  Options again = options;
  static_cast<RunSettings&>(again) = record.run;
  again.command = Command::kRun;
  again.pull_policy = PullPolicy::kNever;  // what the VM has written lies on one image
  again.upper_choice = record.run.upper;
  again.image = image_to_go_on_from(dirs, record);
  if (again.image != record.image)
    log_info("VM ", options.name, " goes on from ", again.image, ", which it was made of: ", record.image,
             " is another image now");
  again.detach = !options.attach;
  again.remove_at_end = false;  // of a run that was cut off before it could
  if (again.image.empty()) {
    return fail(EINVAL, "VM ", options.name, " was run on somebody else's daemon: use 'run --socket-path'");
  }
  return run_vm(dirs, again);
}

Result<void> export_libvirt(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const Options chosen, exported_options(dirs, options));
  if (is_foreign(architecture_of(chosen)))
    return fail(ENOTSUP, "VM ", options.name, " is for ", chosen.platform,
                ": only those for this machine's own architecture are made into a domain");
  tell_left_out(options.name, chosen);
  LB_ASSIGN(const auto qemu, find_qemu(options.qemu));
  const InterruptScope interrupts;  // as in run_vm()
  LB_ASSIGN(VmDirectory directory, VmDirectory::open(dirs, options.name));
  LB_ASSIGN(Prepared prepared, prepare(dirs, chosen, directory));
  auto& [kernel, record, config, files] = prepared;
  if (config.disk_root && !config.volumes.empty()) {
    log_warn("the volumes of ", options.name,
             " are left out: a domain with its root on a disk has no daemons");
    config.volumes.clear();
  }
  LB_TRY(decide_accelerator(dirs, chosen, qemu, config));
  LB_TRY(leave_out_initrd(kernel, config));
  if (config.disk_root) {
    LB_ASSIGN(const DiskPlan root, disk_plan(chosen, config.quota_bytes));
    LB_TRY(prepare_disk_vm(dirs, root, directory, kernel, config));
  }
  // A domain keeps what is written.
  if (config.upper != UpperKind::kHost) config.ephemeral = false;
  LB_TRY(prepare_guest_upper(dirs, directory, config));
  LB_TRY(directory.save_record(record));
  directory.keep();
  LB_ASSIGN(const auto socket,
            absolute_path(options.socket_path.empty() ? serving_socket(dirs) : options.socket_path));
  if (!config.disk_root)
    log_info("before the domain is started: layerboot serve ", config.image, " --name ", config.name,
             " --socket-path ", socket.string(),
             " --socket-group GROUP, where GROUP is that of libvirt's QEMU ",
             "(kvm on Debian), in a directory that it can enter");
  LB_ASSIGN(const std::string xml, libvirt_domain_xml(config, socket));
  std::fwrite(xml.data(), 1, xml.size(), stdout);
  return {};
}

Result<void> serve_image(const StateDirs& dirs, const Options& given) {
  std::optional<InterruptScope> interrupts(std::in_place);  // as in run_vm()
  LB_ASSIGN(const Options options, with_image(dirs, given));
  LB_ASSIGN(VmDirectory directory, VmDirectory::open(dirs, options.name));
  LB_TRY(check_root_kind(directory.paths(), options.name, false));
  SupervisorPlan plan;
  plan.socket = options.socket_path.empty() ? serving_socket(dirs) : options.socket_path;
  plan.control_socket = directory.paths().control_socket();
  LB_TRY(check_socket_path(plan.socket));
  // As the VM was last run: serving it must not change what it is.
  Options chosen = options;
  LB_ASSIGN(const VmRecord known, directory.load_record());
  static_cast<RunSettings&>(chosen) = known.run;
  chosen.kernel = options.kernel;
  chosen.disk_root = false;
  LB_ASSIGN(chosen.upper, choose_upper(directory.paths(), known, std::nullopt, false));
  chosen.ephemeral = false;
  chosen.writeback |= options.writeback;
  LB_TRY(check_upper(chosen));
  LB_ASSIGN(const auto volumes, hold_named_volumes(chosen));
  LB_ASSIGN(const Prepared prepared, prepare(dirs, chosen, directory));
  const auto& [kernel, record, config, files] = prepared;
  VmRecord served = record;
  if (!known.image.empty()) served.run = known.run;
  LB_ASSIGN(ChildSpec daemon, vfsd_spec(dirs, chosen, directory, prepared, plan.socket));
  plan.daemons.push_back(std::move(daemon));
  plan.on_ready = [&directory, served]() -> Result<void> {
    LB_TRY(directory.save_record(served));
    directory.keep();
    return {};
  };
  LB_TRY(add_volumes(dirs, chosen, directory, config, plan));
  LB_TRY(InterruptScope::check());
  interrupts.reset();
  LB_TRY(supervise(plan));
  return {};
}

}  // namespace layerboot::launcher
