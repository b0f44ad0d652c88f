#include "launcher/cli/run_command.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>

#include "launcher/agent/session_client.h"
#include "launcher/cli/disk_command.h"
#include "launcher/cli/store_commands.h"
#include "launcher/cli/upper_settings.h"
#include "launcher/disk/disk_vm.h"
#include "launcher/disk/upper_disk.h"
#include "launcher/export/libvirt_domain.h"
#include "launcher/host/host_tsc.h"
#include "launcher/host/network_check.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/unix_socket.h"
#include "launcher/kernel/kernel_choice.h"
#include "launcher/qemu/accelerator.h"
#include "launcher/qemu/qemu_args.h"
#include "launcher/qemu/qemu_version.h"
#include "launcher/supervise/detach.h"
#include "launcher/supervise/janitor.h"
#include "launcher/supervise/passt_args.h"
#include "launcher/supervise/supervisor.h"
#include "launcher/supervise/vfsd_args.h"
#include "launcher/vm/guest_plan.h"
#include "launcher/vm/image_workload.h"
#include "launcher/vm/last_run.h"
#include "launcher/vm/vm_directory.h"
#include "launcher/vm/vm_layer.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

// More queues than this have no processors to fill them.
constexpr unsigned kMaxRequestQueues = 8;
/// Throw-away VMs of one image at a time, and those that a killed launcher left.
constexpr unsigned kMaxThrowAways = 1000;

/// Where `serve` listens when nothing else was said.
std::filesystem::path serving_socket(const StateDirs& dirs) { return dirs.runtime / "virtiofs.sock"; }

/// `options` with the image that is there then: fetched into the store, if need be.
Result<Options> with_image(const StateDirs& dirs, const Options& options) {
  Options supplied = options;
  if (options.image.empty()) return supplied;
  LB_ASSIGN(supplied.image, supply_image(dirs, options.image, supply_options(options)));
  return supplied;
}

/// Before anything is fetched for an image that is not there.
Result<guest_init::ImageWorkload> workload_for(const StateDirs& dirs, const Options& options) {
  if (options.image.empty()) return guest_init::ImageWorkload();
  return image_workload(dirs, options.image);
}

/// What config.json is to say once this run has come to something. Until then it says what the VM was before,
/// so that a run that fails spoils neither `start` nor what `ps` and `rmi` know of the VM.
Result<VmRecord> record_for(const Options& options, const VmDirectory& directory) {
  LB_ASSIGN(VmRecord record, directory.load_record());
  // A run that leaves alone what the VM keeps is not what `start` is to repeat.
  if (options.ephemeral && has_written(directory.paths())) return record;
  if (!options.image.empty()) record.image = absolute_reference(options.image);
  if (options.quota_bytes) {
    record.quota_bytes = *options.quota_bytes;
  } else if (options.upper == UpperKind::kDisk && !options.ephemeral) {
    // A run that failed may have made the disk larger, which it stays.
    record.quota_bytes = std::max(record.quota_bytes, upper_disk_bytes(directory.paths()));
  }
  const UpperKind kept = record.run.upper;
  record.run = options;
  if (options.image.empty()) record.run.upper = kept;  // on somebody else's daemon nothing was written here
  return record;
}

Result<VmConfig> config_for(const Options& options, const VmRecord& record,
                            guest_init::ImageWorkload workload, const Kernel& kernel) {
  VmConfig config;
  static_cast<RunSettings&>(config) = options;
  config.name = options.name;
  config.image = options.image;
  config.quota_bytes = options.quota_bytes.value_or(record.quota_bytes);
  config.workload = std::move(workload);
  config.machine_id = record.machine_id;
  config.kernel_release = kernel.release;
  config.vmlinuz = kernel.vmlinuz;
  config.initrd = kernel.initrd;
  config.tcg_append = kernel.tcg_append;
  config.timing = options.timing;
  config.quiet = options.log_level == LogLevel::kWarn;
  config.debug = options.log_level == LogLevel::kDebug;
  LB_TRY(kernel_command_line(config));
  return config;
}

Result<ChildSpec> vfsd_spec(const StateDirs& dirs, const Options& options, const VmDirectory& directory,
                            const Kernel& kernel, const VmConfig& config,
                            const std::filesystem::path& socket) {
  const auto upper = config.ephemeral ? directory.paths().ephemeral_upper() : directory.paths().upper();
  LB_ASSIGN(const auto vfsd, find_vfsd(options.vfsd));
  LB_TRY(write_vm_layer(config, directory.paths().layer()));
  VfsdPaths paths{.vfsd = vfsd,
                  .socket = socket,
                  .control = directory.paths().vfsd_socket(),
                  .upper = upper,
                  .index = dirs.index(),
                  .added_layers = {}};
  if (!kernel.modules_tar.empty()) paths.added_layers.push_back(kernel.modules_tar);
  paths.added_layers.push_back(directory.paths().layer());
  const bool once = options.command == Command::kRun;
  return ChildSpec{.label = "vfsd", .argv = vfsd_args(config, paths, once)};
}

Result<void> decide_accelerator(const StateDirs& dirs, const Options& options,
                                const std::filesystem::path& qemu, VmConfig& config) {
  AccelVerdict verdict;
  if (needs_verdict(options)) {
    verdict = kvm_verdict(dirs,
                          {.qemu = qemu,
                           .vmlinuz = config.vmlinuz,
                           .initrd = config.initrd,
                           .kernel_release = config.kernel_release},
                          false);
  }
  LB_ASSIGN(const AcceleratorChoice choice, choose_accelerator(options, verdict));
  if (!choice.announcement.empty()) log_info(choice.announcement);
  config.accel = choice.accel;
  config.machine = choice.machine;
  return {};
}

/// A daemon for each volume; where it serves by itself it listens beside the root's.
Result<void> add_volumes(const StateDirs& dirs, const Options& options, const VmDirectory& directory,
                         const VmConfig& config, SupervisorPlan& plan) {
  if (config.volumes.empty()) return {};
  LB_ASSIGN(const auto vfsd, find_vfsd(options.vfsd));
  const auto uppers = directory.paths().volume_uppers();
  LB_TRY(make_directories(uppers, 0700));
  for (std::size_t i = 0; i < config.volumes.size(); ++i) {
    const Volume& volume = config.volumes[i];
    const auto socket =
        options.command == Command::kServe ? volume_socket(plan.socket, i) : std::filesystem::path();
    std::error_code error;
    if (!std::filesystem::is_directory(volume.host, error)) {
      return fail(ENOTDIR, "--volume ", volume.host, ": no directory there");
    }
    const VfsdPaths paths{.vfsd = vfsd,
                          .socket = socket,
                          .control = {},
                          .upper = uppers / mount_unit_name(volume.guest),
                          .index = dirs.index(),
                          .added_layers = {}};
    plan.daemons.push_back(
        {.label = str_cat("vfsd of ", volume.guest), .argv = volume_vfsd_args(config, volume, paths)});
  }
  return {};
}

Result<void> add_network(const VmConfig& config, SupervisorPlan& plan) {
  if (config.net != Net::kPasst) return {};
  LB_ASSIGN(const auto passt, find_passt());
  plan.network = ChildSpec{.label = "passt", .argv = passt_args(config, passt)};
  return {};
}

/// After the probe, whose guest is in the initrd.
Result<void> leave_out_initrd(const Kernel& kernel, VmConfig& config) {
  if (!config.no_initrd) return {};
  config.initrd.clear();
  return check_no_initrd(kernel, config.disk_root);
}

Result<void> check_network(const Options& options) {
  if (options.net == Net::kTap) {
    auto there = check_interface(options.tap);
    if (!there) return while_doing(there.error(), "--net");
  }
  for (const PublishedPort& port : options.published) {
    auto free = check_port_free(port.address, port.host, port.udp);
    if (!free) return while_doing(free.error(), "--publish");
  }
  return {};
}

Result<SupervisorPlan> plan_for(const StateDirs& dirs, const Options& options, VmDirectory& directory) {
  LB_TRY(check_network(options));
  LB_ASSIGN(const auto qemu, find_qemu(options.qemu));
  LB_ASSIGN(auto workload, workload_for(dirs, options));
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, options.kernel, options.guest_init));
  LB_ASSIGN(VmRecord record, record_for(options, directory));
  LB_ASSIGN(VmConfig config, config_for(options, record, std::move(workload), kernel));
  LB_TRY(decide_accelerator(dirs, options, qemu, config));
  if (config.accel == Accel::kTcg) {
    config.tsc_khz = measure_host_tsc_khz();
    config.qemu_major = qemu_major(qemu_version(qemu).value_or(""));
  }
  LB_TRY(leave_out_initrd(kernel, config));
  SupervisorPlan plan;
  plan.on_started = [&directory, record = std::move(record)] {
    directory.keep();
    return directory.save_record(record);
  };
  plan.socket = options.socket_path;
  plan.other_image_advice =
      str_cat("VM ", options.name, " was made of another image: 'layerboot reset ", options.name,
              "' throws away what it has written, another --name starts another VM");
  plan.console_log = directory.paths().console_log();
  plan.control_socket = directory.paths().control_socket();
  plan.guest = GuestPlan{.agent_socket = directory.paths().agent_socket(),
                         .main = main_request(config),
                         .expected = expected_guest(config),
                         .sockets = config.sockets};
  LB_TRY(check_request_fits(plan.guest->main));
  if (options.disk_root) {
    LB_ASSIGN(const DiskPlan root, disk_plan(options, config.quota_bytes));
    LB_TRY(prepare_disk_vm(dirs, root, directory, kernel, config));
    plan.disk_root = true;
  } else if (plan.socket.empty()) {
    // A daemon that is not ours may have one queue only; ours is told.
    // More queues than cores to serve them only cost: bench/DESIGN.md.
    config.request_queues =
        std::min({config.cpus, kMaxRequestQueues, std::max(1U, std::thread::hardware_concurrency())});
    LB_TRY(prepare_guest_upper(dirs, directory, config));
    LB_ASSIGN(ChildSpec root, vfsd_spec(dirs, options, directory, kernel, config, {}));
    plan.daemons.push_back(std::move(root));
  }
  LB_TRY(add_volumes(dirs, options, directory, config, plan));
  LB_TRY(add_network(config, plan));
  plan.vmm = ChildSpec{.label = "QEMU", .argv = qemu_args(config, qemu), .death_signal = SIGKILL};
  return plan;
}

/// Runs the plan, and notes how it went.
Result<int> carry_through(SupervisorPlan& plan, const VmDirectory& directory) {
  LastRun run;
  run.started = seconds_now();
  LB_TRY(save_last_run(directory.paths().last_run(), run));
  plan.on_ended = [&](const Result<int>& outcome) {
    run.ended = seconds_now();
    run.exit_status = outcome ? *outcome : 1;
    // Without text a child has said why, where the launcher's own lines go.
    if (!outcome)
      run.error = outcome.error().text.empty() ? "a program of the VM failed" : outcome.error().text;
    if (const auto saved = save_last_run(directory.paths().last_run(), run); !saved) {
      log_warn(saved.error().describe());
    }
  };
  return supervise(plan);
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
  if (chosen.image.empty()) chosen.image = record.image;
  chosen.accel_choice = options.accel_choice;
  return chosen;
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

}  // namespace

Result<int> run_vm(const StateDirs& dirs, const Options& asked) {
  Timeline timeline;
  // Ctrl-C while things are prepared is felt once `directory` has been cleared up.
  std::optional<InterruptScope> interrupts(std::in_place);
  LB_ASSIGN(Options options, with_image(dirs, asked));
  LB_ASSIGN(VmDirectory directory, directory_for(dirs, options));
  LB_TRY(directory.throw_away_ephemeral());
  LB_ASSIGN(options, with_upper(directory, options));
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
      std::printf("%s\n", options.name.c_str());
      return 0;
    }
    plan.console_input = -1;
    plan.console_output = -1;
    plan.launcher_log = directory.paths().launcher_log();
    plan.on_started = [&detached, kept = std::move(plan.on_started)]() -> Result<void> {
      LB_TRY(kept());
      return detached->started();
    };
  }
  LB_ASSIGN(const Janitor janitor, Janitor::start(directory.paths()));
  const auto status = carry_through(plan, directory);
  // On standard error, where it does not mix with what the guest says; at the end, where it is read.
  if (options.timing) std::fputs(timeline.table().c_str(), stderr);
  LB_TRY(options.remove_at_end ? directory.remove() : directory.throw_away_ephemeral());
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
  again.image = record.image;
  again.detach = !options.attach;
  if (again.image.empty()) {
    return fail(EINVAL, "VM ", options.name, " was run on somebody else's daemon: use 'run --socket-path'");
  }
  return run_vm(dirs, again);
}

Result<void> export_libvirt(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const Options chosen, exported_options(dirs, options));
  if (!chosen.sockets.empty())
    log_warn("the shared sockets of ", options.name, " are left out: they need the launcher beside the VM");
  LB_ASSIGN(const auto qemu, find_qemu(options.qemu));
  const InterruptScope interrupts;  // as in run_vm()
  LB_ASSIGN(VmDirectory directory, VmDirectory::open(dirs, options.name));
  LB_ASSIGN(auto workload, workload_for(dirs, chosen));
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, chosen.kernel, chosen.guest_init));
  LB_ASSIGN(const VmRecord record, record_for(chosen, directory));
  LB_ASSIGN(VmConfig config, config_for(chosen, record, std::move(workload), kernel));
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
  const auto socket =
      options.socket_path.empty() ? serving_socket(dirs) : std::filesystem::absolute(options.socket_path);
  const std::string xml = libvirt_domain_xml(config, socket);
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
  LB_ASSIGN(auto workload, workload_for(dirs, options));
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, options.kernel, options.guest_init));
  // As the VM was last run: serving it must not change what it is.
  Options chosen = options;
  LB_ASSIGN(const VmRecord known, directory.load_record());
  static_cast<RunSettings&>(chosen) = known.run;
  chosen.kernel = options.kernel;
  chosen.disk_root = false;
  LB_ASSIGN(chosen.upper, choose_upper(directory.paths(), known, UpperKind::kHost, false));
  chosen.ephemeral = false;
  chosen.writeback |= options.writeback;
  LB_ASSIGN(const VmRecord record, record_for(chosen, directory));
  LB_ASSIGN(const VmConfig config, config_for(chosen, record, std::move(workload), kernel));
  LB_ASSIGN(ChildSpec daemon, vfsd_spec(dirs, chosen, directory, kernel, config, plan.socket));
  plan.daemons.push_back(std::move(daemon));
  plan.on_ready = [&directory, record]() -> Result<void> {
    directory.keep();
    return directory.save_record(record);
  };
  LB_TRY(add_volumes(dirs, chosen, directory, config, plan));
  LB_TRY(InterruptScope::check());
  interrupts.reset();
  LB_TRY(supervise(plan));
  return {};
}

}  // namespace layerboot::launcher
