#include "launcher/run_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "launcher/accelerator.h"
#include "launcher/disk_vm.h"
#include "launcher/kernel_choice.h"
#include "launcher/programs.h"
#include "launcher/qemu_args.h"
#include "launcher/supervisor.h"
#include "launcher/vfsd_args.h"
#include "launcher/vm_directory.h"
#include "launcher/vm_layer.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

// More queues than this have no processors to fill them.
constexpr unsigned kMaxRequestQueues = 8;

Result<VmConfig> config_for(const Options& options, const VmDirectory& directory, const Kernel& kernel) {
  LB_ASSIGN(VmRecord record, directory.load_record());
  if (!options.image.empty()) record.image = options.image;
  if (options.quota_bytes) record.quota_bytes = *options.quota_bytes;
  record.run = options;
  LB_TRY(directory.save_record(record));
  VmConfig config;
  static_cast<RunSettings&>(config) = options;
  config.name = options.name;
  config.image = options.image;
  config.quota_bytes = record.quota_bytes;
  config.machine_id = record.machine_id;
  config.kernel_release = kernel.release;
  config.vmlinuz = kernel.vmlinuz;
  config.initrd = kernel.initrd;
  config.tcg_append = kernel.tcg_append;
  config.quiet = options.log_level == LogLevel::kWarn;
  config.debug = options.log_level == LogLevel::kDebug;
  LB_TRY(kernel_command_line(config));
  return config;
}

Result<ChildSpec> vfsd_spec(const StateDirs& dirs, const Options& options, const VmDirectory& directory,
                            const Kernel& kernel, const VmConfig& config,
                            const std::filesystem::path& socket) {
  LB_ASSIGN(const auto vfsd, find_vfsd(options.vfsd));
  LB_TRY(write_vm_layer(config, directory.layer()));
  VfsdPaths paths{
      .vfsd = vfsd, .socket = socket, .upper = directory.upper(), .index = dirs.index(), .added_layers = {}};
  if (!kernel.modules_tar.empty()) paths.added_layers.push_back(kernel.modules_tar);
  paths.added_layers.push_back(directory.layer());
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

/// The console log begins anew with each run, readable by its owner alone before QEMU opens it.
Result<void> prepare_console_log(const std::filesystem::path& path) {
  LB_TRY(open_path(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  return {};
}

}  // namespace

Result<int> run_vm(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto qemu, find_qemu(options.qemu));
  LB_ASSIGN(VmDirectory directory, VmDirectory::open(dirs, options.name));
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, options));
  LB_ASSIGN(VmConfig config, config_for(options, directory, kernel));
  LB_TRY(decide_accelerator(dirs, options, qemu, config));
  LB_TRY(prepare_console_log(directory.console_log()));
  SupervisorPlan plan;
  plan.on_ready = [&directory] { directory.keep(); };
  plan.socket = options.socket_path;
  if (options.disk_root) {
    LB_TRY(prepare_disk_vm(dirs, options, directory, kernel, config));
    // No daemon whose readiness would say so.
    directory.keep();
  } else if (plan.socket.empty()) {
    // A daemon that is not ours may have one queue only; ours is told.
    config.request_queues = std::min(config.cpus, kMaxRequestQueues);
    plan.socket = directory.virtiofs_socket();
    LB_ASSIGN(plan.daemon, vfsd_spec(dirs, options, directory, kernel, config, plan.socket));
  }
  plan.vmm = ChildSpec{
      .label = "QEMU", .argv = qemu_args(config, qemu, directory.console_log()), .death_signal = SIGKILL};
  plan.console_input = STDIN_FILENO;
  plan.console_output = STDOUT_FILENO;
  LB_TRY(supervise(plan));
  return 0;
}

Result<void> serve_image(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(VmDirectory directory, VmDirectory::open(dirs, options.name));
  SupervisorPlan plan;
  plan.on_ready = [&directory] { directory.keep(); };
  plan.socket = options.socket_path.empty() ? dirs.runtime / "virtiofs.sock" : options.socket_path;
  LB_TRY(check_socket_path(plan.socket));
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, options));
  LB_ASSIGN(const VmConfig config, config_for(options, directory, kernel));
  LB_ASSIGN(plan.daemon, vfsd_spec(dirs, options, directory, kernel, config, plan.socket));
  return supervise(plan);
}

}  // namespace layerboot::launcher
