#include "launcher/cli/run_plan.h"

#include <algorithm>
#include <csignal>
#include <thread>
#include <utility>

#include "launcher/agent/docker_answer.h"
#include "launcher/agent/session_client.h"
#include "launcher/cli/disk_command.h"
#include "launcher/cli/packaged_start.h"
#include "launcher/disk/disk_vm.h"
#include "launcher/disk/upper_disk.h"
#include "launcher/export/libvirt_domain.h"
#include "launcher/host/host_tsc.h"
#include "launcher/host/network_check.h"
#include "launcher/host/programs.h"
#include "launcher/kernel/kernel_choice.h"
#include "launcher/kernel/kernel_store.h"
#include "launcher/qemu/accelerator.h"
#include "launcher/qemu/qemu_args.h"
#include "launcher/qemu/qemu_user.h"
#include "launcher/qemu/qemu_version.h"
#include "launcher/supervise/passt_args.h"
#include "launcher/supervise/vfsd_args.h"
#include "launcher/vm/binfmt_layer.h"
#include "launcher/vm/guest_plan.h"
#include "launcher/vm/image_workload.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/utf8.h"

namespace layerboot::launcher {

namespace {

// More queues than this have no processors to fill them.
constexpr unsigned kMaxRequestQueues = 8;

/// Before anything is fetched for an image that is not there.
Result<guest_init::ImageWorkload> workload_for(const StateDirs& dirs, const Options& options) {
  if (options.image.empty()) return guest_init::ImageWorkload();
  return image_workload(dirs, options.image, image_platform(options));
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
  record.has_given_password = record.has_password_written() && has_written(directory.paths());
  // One that is thrown away is not started again.
  if (!options.remove_at_end) {
    LB_TRY(check_can_be_kept(options));
    if (!is_utf8(record.image))
      return fail(EINVAL, record.image, ": is not UTF-8, and can't be kept for the VM's next start");
  }
  const UpperKind kept = record.run.upper;
  record.run = options;
  // As it means the same from any working directory.
  if (const auto spec = parse_kernel_spec(options.kernel, architecture_of(options));
      spec && !spec->directory.empty()) {
    LB_ASSIGN(const auto whole, absolute_path(spec->directory));
    record.run.kernel = whole.string();
  }
  if (options.image.empty()) record.run.upper = kept;  // on somebody else's daemon nothing was written here
  return record;
}

/// A file of the VM layer is below whatever is mounted. No reason not to start: a VM may have been made so.
void warn_if_hidden(const Options& options, const std::string& file) {
  const auto hides = [&file](std::string directory) {
    if (!directory.ends_with('/')) directory += '/';
    return file.starts_with(directory);
  };
  const auto warn = [&file](const char* option, const std::string& directory) {
    log_warn("--volume: the file ", printable(file), " is hidden by ", option, " ", printable(directory),
             ", which is mounted over it: put it into that directory");
  };
  for (const Volume& volume : options.volumes) {
    if (hides(volume.guest)) warn("--volume", volume.guest);
  }
  for (const TmpfsMount& mount : options.tmpfs) {
    if (hides(mount.guest)) warn("--tmpfs", mount.guest);
  }
}

/// A daemon shares directories: a file is put into the VM layer, where it is as it was at the start.
Result<std::vector<LayerFile>> take_files(Options& options) {
  constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;
  std::vector<LayerFile> files;
  for (const Volume& volume : options.volumes) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(volume.host, ignored)) continue;
    if (volume.kind == VolumeKind::kShared) {
      return fail(ENOTDIR, "--volume ", volume.host,
                  " is a file: one for the guest to write to can't be shared, since a program on either side "
                  "that replaces it, as editors do, would part the two; give its directory, or add :ro or "
                  ":overlay for the file as it is at the start");
    }
    if (options.disk_root)
      return fail(ENOTDIR, "--volume ", volume.host, " is a file, which --disk-image does not take");
    if (!options.socket_path.empty())
      return fail(ENOTDIR, "--volume ", volume.host,
                  " is a file, which would be in the VM layer: with --socket-path that is the daemon's");
    const auto mode = std::filesystem::status(volume.host, ignored).permissions();
    LB_ASSIGN(std::string content, read_file(volume.host, kMaxFileBytes));
    files.push_back({.path = volume.guest,
                     .content = std::move(content),
                     .mode = static_cast<unsigned>(mode & std::filesystem::perms::mask) & 0777U});
  }
  std::erase_if(options.volumes, [&](const Volume& volume) {
    return std::ranges::any_of(files, [&](const LayerFile& file) { return file.path == volume.guest; });
  });
  for (const LayerFile& file : files) warn_if_hidden(options, file.path);
  return files;
}

Result<VmConfig> config_for(const Options& options, const VmRecord& record,
                            guest_init::ImageWorkload workload, const Kernel& kernel) {
  VmConfig config;
  static_cast<RunSettings&>(config) = options;
  config.name = options.name;
  config.image = options.image;
  config.quota_bytes = options.quota_bytes.value_or(record.quota_bytes);
  config.workload = std::move(workload);
  config.workload.root_password = options.root_password_hash;
  config.workload.autologin = options.autologin;
  for (const TmpfsMount& mount : options.tmpfs)
    config.workload.tmpfs.push_back(str_cat(mount.guest, ':', mount.options));
  config.machine_id = record.machine_id;
  config.kernel_release = kernel.release;
  config.vmlinuz = kernel.vmlinuz;
  config.initrd = kernel.initrd;
  config.tcg_append = kernel.tcg_append;
  // Somebody who is not at a terminal can't go on after it.
  config.shell_once = options.command == Command::kRun && !options.detach && !options.no_initrd &&
                      boots_into_shell(options.append) && ::isatty(STDIN_FILENO) == 0;
  config.timing = options.timing;
  config.quiet = options.log_level == LogLevel::kWarn;
  config.debug = options.log_level == LogLevel::kDebug;
  LB_TRY(kernel_command_line(config));
  return config;
}

Result<void> add_network(const VmConfig& config, SupervisorPlan& plan) {
  if (config.net != Net::kPasst) return {};
  LB_ASSIGN(const auto passt, find_passt());
  plan.network = ChildSpec{.label = "passt", .argv = passt_args(config, passt)};
  return {};
}

Result<void> check_interfaces(const RunSettings& settings) {
  std::vector<std::string> taps;
  if (settings.net == Net::kTap) taps.push_back(settings.tap);
  for (const NetCard& card : settings.more_nets) {
    if (card.kind == Net::kTap) taps.push_back(card.tap);
  }
  for (const std::string& tap : taps) {
    auto there = check_interface(tap);
    if (!there) return while_doing(there.error(), "--net");
  }
  return {};
}

Result<void> check_hosts_network(const Options& options) {
  LB_TRY(check_interfaces(options));
  LB_TRY(check_ports_differ(options.published));
  for (const PublishedPort& port : options.published) {
    auto free = check_port_free(port.address, port.host, port.udp);
    if (!free) return while_doing(free.error(), "--publish");
  }
  return {};
}

Error no_directory(const Volume& volume) {
  return {ENOTDIR, str_cat("--volume ", volume.host, ": no directory there")};
}

}  // namespace

Result<void> check_host_has(const RunSettings& settings) {
  for (const Volume& volume : settings.volumes) {
    std::error_code ignored;
    // Those that are kept by us are made.
    if (!volume.name.empty() || std::filesystem::is_directory(volume.host, ignored)) continue;
    const bool as_file = volume.kind != VolumeKind::kShared && !settings.disk_root;
    if (as_file && std::filesystem::is_regular_file(volume.host, ignored)) continue;
    return std::unexpected(no_directory(volume));
  }
  LB_TRY(check_interfaces(settings));
  LB_ASSIGN(const KernelSpec spec, parse_kernel_spec(settings.kernel, architecture_of(settings)));
  if (spec.kind == KernelSpec::Kind::kDirectory) LB_TRY(open_kernel(spec.directory));
  return {};
}

Result<Prepared> prepare(const StateDirs& dirs, const Options& options, const VmDirectory& directory) {
  LB_ASSIGN(auto workload, workload_for(dirs, options));
  LB_ASSIGN(Kernel kernel, kernel_for(dirs, options.kernel, options.guest_init, architecture_of(options)));
  LB_ASSIGN(VmRecord record, record_for(options, directory));
  Options without_files = options;
  LB_ASSIGN(auto files, take_files(without_files));
  LB_ASSIGN(VmConfig config, config_for(without_files, record, std::move(workload), kernel));
  return Prepared{.kernel = std::move(kernel),
                  .record = std::move(record),
                  .config = std::move(config),
                  .files = std::move(files)};
}

Result<ChildSpec> vfsd_spec(const StateDirs& dirs, const Options& options, const VmDirectory& directory,
                            const Prepared& prepared, const std::filesystem::path& socket) {
  const auto& [kernel, record, config, files] = prepared;
  const auto upper = config.ephemeral ? directory.paths().ephemeral_upper() : directory.paths().upper();
  LB_ASSIGN(const auto vfsd, find_vfsd(options.vfsd));
  LB_TRY(write_vm_layer(config, directory.paths().layer(), files));
  VfsdPaths paths{.vfsd = vfsd,
                  .socket = socket,
                  .socket_group = options.socket_group,
                  .control = directory.paths().vfsd_socket(),
                  .upper = upper,
                  .index = dirs.index(),
                  .added_layers = {}};
  if (!kernel.modules_tar.empty()) paths.added_layers.push_back(kernel.modules_tar);
  LB_ASSIGN(const auto interpreters, binfmt_layers(dirs, config.binfmt, architecture_of(config)));
  paths.added_layers.insert(paths.added_layers.end(), interpreters.begin(), interpreters.end());
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
      return std::unexpected(no_directory(volume));
    }
    const VfsdPaths paths{.vfsd = vfsd,
                          .socket = socket,
                          .socket_group = options.socket_group,
                          .control = {},
                          .upper = uppers / mount_unit_name(volume.guest),
                          .index = dirs.index(),
                          .added_layers = {}};
    plan.daemons.push_back(
        {.label = str_cat("vfsd of ", volume.guest), .argv = volume_vfsd_args(config, volume, paths)});
  }
  return {};
}

Result<void> leave_out_initrd(const Kernel& kernel, VmConfig& config) {
  if (!config.no_initrd) return {};
  config.initrd.clear();
  return check_no_initrd(kernel, config.disk_root);
}

Result<SupervisorPlan> plan_for(const StateDirs& dirs, const Options& options, VmDirectory& directory) {
  LB_TRY(check_hosts_network(options));
  LB_ASSIGN(const auto qemu, find_qemu(options.qemu, architecture_of(options)));
  LB_ASSIGN(Prepared prepared, prepare(dirs, options, directory));
  auto& [kernel, record, config, files] = prepared;
  LB_TRY(decide_accelerator(dirs, options, qemu, config));
  // A device that is there may run no guest: only now it is known what an emulator takes.
  if (options.container_memory_bytes) {
    LB_ASSIGN(config.memory_bytes,
              memory_within(*options.container_memory_bytes, config.accel == Accel::kTcg));
    record.run.memory_bytes = config.memory_bytes;
  }
  if (config.accel == Accel::kTcg) {
    config.tsc_khz = measure_host_tsc_khz();
    config.qemu_major = qemu_major(qemu_version(qemu).value_or(""));
  }
  LB_TRY(leave_out_initrd(kernel, config));
  if (config.swap_bytes != 0) config.swap_disk = directory.paths().swap_disk();
  // What has been added since: before a disk is made for nothing.
  LB_TRY(kernel_command_line(config));
  SupervisorPlan plan;
  plan.on_started = [&directory, started = record]() -> Result<void> {
    LB_TRY(directory.save_record(started));
    directory.keep();
    return {};
  };
  plan.socket = options.socket_path;
  plan.other_image_advice =
      str_cat("VM ", options.name, " was made of another image: 'layerboot reset ", options.name,
              "' throws away what it has written, another --name starts another VM");
  plan.power_button = architecture_of(config).hears_power_button;
  plan.console_log = directory.paths().console_log();
  plan.control_socket = directory.paths().control_socket();
  plan.guest = GuestPlan{.agent_socket = directory.paths().agent_socket(),
                         .main = main_request(config),
                         .expected = expected_guest(config),
                         .shell_once = config.shell_once,
                         .sockets = config.sockets,
                         .has_agent = !config.no_initrd,
                         .docker = config.docker};
  if (config.docker)
    plan.guest->sockets.push_back({directory.paths().docker_socket().string(), kDockerSocket});
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
    LB_ASSIGN(ChildSpec root, vfsd_spec(dirs, options, directory, prepared, {}));
    plan.daemons.push_back(std::move(root));
  }
  LB_TRY(add_volumes(dirs, options, directory, config, plan));
  LB_TRY(add_network(config, plan));
  LB_ASSIGN(plan.qemu_user, choose_qemu_user(dirs, qemu, config));
  LB_ASSIGN(auto words, qemu_args(config, qemu));
  plan.vmm = ChildSpec{.label = "QEMU",
                       .argv = std::move(words),
                       .death_signal = SIGKILL,
                       .own_pid_namespace = config.qemu_uid != 0,
                       .apart_from = qemu_apart_from(config)};
  return plan;
}

}  // namespace layerboot::launcher
