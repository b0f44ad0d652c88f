#include "launcher/cli/commands.h"

#include <cstdio>

#include "launcher/cli/commit_command.h"
#include "launcher/cli/cp_command.h"
#include "launcher/cli/disk_command.h"
#include "launcher/cli/docker_command.h"
#include "launcher/cli/doctor.h"
#include "launcher/cli/events_command.h"
#include "launcher/cli/exec_command.h"
#include "launcher/cli/export_command.h"
#include "launcher/cli/gns3_command.h"
#include "launcher/cli/image_list.h"
#include "launcher/cli/image_out_commands.h"
#include "launcher/cli/image_show.h"
#include "launcher/cli/package_command.h"
#include "launcher/cli/packaged_command.h"
#include "launcher/cli/packaged_start.h"
#include "launcher/cli/run_command.h"
#include "launcher/cli/ssh_command.h"
#include "launcher/cli/stats_command.h"
#include "launcher/cli/store_commands.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/cli/volume_command.h"
#include "launcher/images/package_layout.h"
#include "launcher/kernel/kernel_choice.h"
#include "oci-mount/base/own_places.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

namespace {

Result<void> kernel(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const Kernel prepared,
            kernel_for(dirs, options.kernel, options.guest_init, architecture_of(options)));
  std::printf("%s\n", prepared.vmlinuz.parent_path().c_str());
  return {};
}

Result<void> carry_out_simple(const StateDirs& dirs, const Options& options) {
  switch (options.command) {
    case Command::kServe:
      return serve_image(dirs, options);
    case Command::kKernel:
      return kernel(dirs, options);
    case Command::kPull:
      return pull(dirs, {.reference = options.image,
                         .name = options.image_name,
                         .platform = options.pull_platform,
                         .tls_verify = options.tls_verify,
                         .show_progress = options.log_level >= LogLevel::kInfo});
    case Command::kImages:
      return list_images(dirs, options);
    case Command::kTag:
      return tag_image(dirs, options.image, options.image_name);
    case Command::kRmi:
      return remove_images(dirs, options.names, options.force);
    case Command::kHistory:
      return show_history(dirs, options);
    case Command::kExportGns3:
      return export_gns3(dirs, options);
    case Command::kExportLibvirt:
      return export_libvirt(dirs, options);
    case Command::kDisk:
      return make_disk(dirs, options);
    case Command::kCommit:
      return commit_vm(dirs, options);
    case Command::kExportSystemd:
      return export_systemd(dirs, options);
    case Command::kExportKubernetes:
      return export_kubernetes(dirs, options);
    case Command::kPackage:
      return package_command(dirs, options);
    case Command::kPush:
      return push_command(dirs, options);
    case Command::kSave:
      return save_command(dirs, options);
    case Command::kLoad:
      return load_command(dirs, options);
    case Command::kBuild:
      return build_command(dirs, options);
    case Command::kGc:
      return clean_up(dirs);
    case Command::kPs:
      return list_vms_command(dirs, options);
    case Command::kStats:
      return show_stats(dirs, options);
    case Command::kEvents:
      return show_events(dirs, options);
    case Command::kInspect:
      return inspect_vms(dirs, options);
    case Command::kLogs:
      return show_logs(dirs, options);
    case Command::kConsole:
      return join_console(dirs, options);
    case Command::kResize:
      return resize_vm(dirs, options);
    case Command::kRename:
      return rename_vm(dirs, options);
    default:
      break;
  }
  return fail(EINVAL, "unknown command");
}

}  // namespace

Result<int> carry_out(const Options& options) {
  LB_ASSIGN(StateDirs dirs, StateDirs::from_environment());
  if (is_packaged(dirs)) {
    LB_ASSIGN(dirs.runtime, packaged_runtime(kPackagedRuntime, dirs.data));
  }
  if (options.command != Command::kDoctor) close_own_places(dirs);
  switch (options.command) {
    case Command::kRun:
      return run_vm(dirs, options);
    case Command::kDoctor:
      return doctor(dirs, options);
    case Command::kStart:
      return start_vms(dirs, options);
    case Command::kStop:
      return stop_vms(dirs, options);
    case Command::kKill:
      return kill_vms(dirs, options);
    case Command::kRm:
      return remove_vms(dirs, options);
    case Command::kVerify:
      return verify_images(dirs, options);
    case Command::kReset:
      return reset_vms(dirs, options);
    case Command::kRestart:
      return restart_vms(dirs, options);
    case Command::kWait:
      return wait_for_vms(dirs, options);
    case Command::kVolume:
      return volumes(dirs, options);
    case Command::kCp:
      return copy_files(dirs, options);
    case Command::kExec:
      return exec_in_vm(dirs, options);
    case Command::kSsh:
      return options.proxy ? ssh_proxy(dirs, options) : ssh_into_vm(dirs, options);
    case Command::kPackaged:
      return packaged_command(dirs, options);
    case Command::kDocker:
      return use_docker(dirs, options);
    default:
      LB_TRY(carry_out_simple(dirs, options));
      return 0;
  }
}

}  // namespace layerboot::launcher
