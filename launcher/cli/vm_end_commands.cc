// stop, kill, rm, reset and resize.

#include <sys/socket.h>
#include <sys/time.h>

#include <unistd.h>

#include <array>
#include <cstdio>
#include <functional>

#include "launcher/cli/exec_command.h"
#include "launcher/cli/guest_lines.h"
#include "launcher/cli/run_events.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/disk/upper_disk.h"
#include "launcher/supervise/supervisor.h"
#include "launcher/vm/control_client.h"
#include "launcher/vm/vfsd_client.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

using std::chrono::milliseconds;

/// Beyond the bounds of the steps on the supervisor's way down.
constexpr milliseconds kSlack{15'000};

/// One name at a time, however the others fare.
Result<int> for_each_name(const Options& options,
                          const std::function<Result<void>(const std::string&)>& act) {
  int status = 0;
  for (const std::string& name : options.names) {
    if (const auto done = act(name); done) {
      std::printf("%s\n", name.c_str());
      std::fflush(stdout);
    } else {
      // What names the VM itself needs no name before it.
      const std::string text = done.error().describe();
      const bool named = text.find(str_cat("VM ", name)) != std::string::npos;
      log_error(named ? "" : str_cat(name, ": "), text);
      status = 1;
    }
  }
  return status;
}

/// Nothing when nobody runs the VM.
Result<std::optional<ControlClient>> supervisor_of_named(const StateDirs& dirs, const std::string& name) {
  const VmPaths paths(dirs, name);
  std::error_code error;
  if (!std::filesystem::is_directory(paths.state, error)) {
    return std::unexpected(no_such_vm(dirs, name));
  }
  return supervisor_of(paths);
}

/// That the VM had to be cut off, or failed; not the exit code of a command that was told to end.
std::string what_went_wrong(const StateDirs& dirs, const std::string& name) {
  const auto run = load_last_run(VmPaths(dirs, name).last_run());
  // With --rm there is nothing left to read.
  return run && *run ? (*run)->error : "";
}

Result<void> kill(const StateDirs& dirs, const std::string& name) {
  LB_ASSIGN(auto client, supervisor_of_named(dirs, name));
  if (!client) return {};
  const SupervisorBounds bounds;
  const auto asked = client->ask({.verb = ControlVerb::kKill, .timeout_seconds = {}});
  if (asked) {
    LB_ASSIGN(const bool ended, client->wait_end(bounds.quit + bounds.flush + bounds.drain + kSlack));
    if (ended) return {};
  }
  log_warn(name, ": its supervisor does not answer and is killed");
  client->kill_supervisor();
  LB_ASSIGN(const bool killed, client->wait_end(kSlack));
  if (killed) return {};
  return fail(ETIMEDOUT, "its supervisor could not be killed");
}

/// The VM's lock, in words that fit a command which needs it stopped.
Result<VmDirectory> hold_stopped(const StateDirs& dirs, const std::string& name) {
  auto directory = VmDirectory::open_existing(dirs, name);
  if (!directory && directory.error().code == EBUSY) {
    return fail(EBUSY, "it is running: 'layerboot stop ", name, "' first");
  }
  return directory;
}

Result<void> resize_live(const VmPaths& paths, std::uint64_t quota_bytes) {
  LB_TRY(ask_vfsd(paths.vfsd_socket(), {{"command", "resize"}, {"bytes", quota_bytes}}));
  return {};
}

/// A guest that keeps what it writes by itself is told by its agent; one on a disk gets a larger one before
/// that.
Result<void> resize_guest_upper(const StateDirs& dirs, const VmView& vm, const VmRecord& record) {
  if (record.run.upper == UpperKind::kDisk) {
    LB_ASSIGN(auto client, ControlClient::connect(vm.paths.control_socket()));
    LB_TRY(
        client.ask({.verb = ControlVerb::kResize, .timeout_seconds = {}, .size_bytes = record.quota_bytes}));
  }
  guest_init::SessionRequest request;
  request.grow_bytes = upper_cap_bytes(record.run, record.quota_bytes);
  LB_ASSIGN(auto words, GuestLines::begin());
  LB_ASSIGN(const int code, run_own_session(dirs, vm.name, request,
                                            {.input = -1, .output = words->fd(), .error = words->fd()}));
  words.reset();
  if (code == 0) return {};
  return fail(EIO, "the guest did not follow");
}

/// A guest's own disk only grows, and not past what its file system can be.
Result<void> check_new_size(const VmView& vm, const VmRecord& record, std::uint64_t quota_bytes) {
  if (record.run.upper != UpperKind::kDisk) return {};
  if (quota_bytes < kMinUpperDiskBytes || quota_bytes > kMaxUpperDiskBytes) {
    return fail(EINVAL, "a VM's disk has at least ", human_size(kMinUpperDiskBytes), " and at most ",
                human_size(kMaxUpperDiskBytes));
  }
  const std::uint64_t present = vm.is_live() ? live_upper_disk_bytes(vm.paths) : upper_disk_bytes(vm.paths);
  if (quota_bytes >= present) return {};
  return fail(EINVAL, "VM ", record.name,
              " keeps what it writes on a disk of its own, which can only grow: it has ",
              human_size(present));
}

}  // namespace

Result<std::string> power_off_vm(const StateDirs& dirs, const std::string& name,
                                 std::optional<std::uint64_t> seconds) {
  LB_ASSIGN(auto client, supervisor_of_named(dirs, name));
  if (!client) return std::string();
  const SupervisorBounds bounds;
  milliseconds patience = bounds.power_down + bounds.quit + bounds.flush + bounds.drain + kSlack;
  if (seconds) patience += std::chrono::seconds(*seconds);
  LB_TRY(client->ask({.verb = ControlVerb::kStop, .timeout_seconds = seconds}));
  LB_ASSIGN(const bool ended, client->wait_end(patience));
  if (!ended) return fail(ETIMEDOUT, "its supervisor still runs: 'layerboot kill ", name, "' ends it");
  return what_went_wrong(dirs, name);
}

Result<int> stop_vms(const StateDirs& dirs, const Options& options) {
  return for_each_name(options, [&](const std::string& name) -> Result<void> {
    LB_ASSIGN(const std::string wrong, power_off_vm(dirs, name, options.stop_seconds));
    return wrong.empty() ? Result<void>() : fail(EIO, wrong);
  });
}

Result<int> kill_vms(const StateDirs& dirs, const Options& options) {
  return for_each_name(options, [&](const std::string& name) { return kill(dirs, name); });
}

namespace {

Result<void> remove_named(const StateDirs& dirs, const std::string& name, bool force) {
  if (force) LB_TRY(kill(dirs, name));
  auto directory = hold_stopped(dirs, name);
  // One that was run with --rm has removed itself.
  if (!directory && directory.error().code == ENOENT && force) return {};
  if (!directory) return std::unexpected(directory.error());
  // Before there is nothing left to read it from.
  const VmEvent event = event_of("remove", name, directory->paths());
  LB_TRY(directory->remove());
  note_event(directory->paths().event_log, event);
  return {};
}

}  // namespace

Result<void> remove_vm(const StateDirs& dirs, const std::string& name) {
  std::error_code error;
  if (!std::filesystem::exists(VmPaths(dirs, name).state, error)) return {};
  return remove_named(dirs, name, true);
}

Result<int> remove_vms(const StateDirs& dirs, const Options& options) {
  return for_each_name(options,
                       [&](const std::string& name) { return remove_named(dirs, name, options.force); });
}

Result<int> reset_vms(const StateDirs& dirs, const Options& options) {
  return for_each_name(options, [&](const std::string& name) -> Result<void> {
    LB_ASSIGN(const VmDirectory directory, hold_stopped(dirs, name));
    LB_TRY(directory.throw_away_upper());
    note_event(directory.paths().event_log, event_of("reset", name, directory.paths()));
    return {};
  });
}

namespace {

/// Tells the guest and the daemon of a VM that runs.
Result<void> resize_running(const StateDirs& dirs, const VmView& vm, const VmRecord& before,
                            const VmRecord& record) {
  const auto live = record.run.upper == UpperKind::kHost ? resize_live(vm.paths, record.quota_bytes)
                                                         : resize_guest_upper(dirs, vm, record);
  if (live) return {};
  if (is_nobody(live.error())) {
    log_info("counts from the VM's next start on: its daemon takes no orders");
    return {};
  }
  if (record.run.upper == UpperKind::kDisk) {
    // What QEMU was asked for it may have done, whatever came of the guest's part.
    if (live_upper_disk_bytes(vm.paths) >= record.quota_bytes && record.quota_bytes > before.quota_bytes)
      return while_doing(live.error(),
                         "the VM's disk is larger now, and its file system follows when the VM starts anew");
    LB_TRY(save_vm_record(vm.paths, before));
    return while_doing(live.error(), "the VM's disk is as it was");
  }
  return while_doing(live.error(), "the VM that runs was not told; it counts from its next start on");
}

}  // namespace

Result<void> resize_vm(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, options.name));
  LB_ASSIGN(VmRecord record, vm.record);
  if (record.run.disk_root) {
    return fail(EOPNOTSUPP, "VM ", options.name, " has a disk for its root, of a fixed size");
  }
  const std::uint64_t quota_bytes = options.quota_bytes.value_or(record.quota_bytes);
  LB_TRY(check_new_size(vm, record, quota_bytes));
  const VmRecord before = record;
  record.quota_bytes = quota_bytes;
  LB_TRY(save_vm_record(vm.paths, record));
  std::printf("%s\n", options.name.c_str());
  if (vm.is_live()) LB_TRY(resize_running(dirs, vm, before, record));
  VmEvent event = event_of("resize", options.name, vm.paths);
  event.size_bytes = quota_bytes;
  note_event(vm.paths.event_log, event);
  return {};
}

}  // namespace layerboot::launcher
