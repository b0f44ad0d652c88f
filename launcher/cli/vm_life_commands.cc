// restart, wait and rename.

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>

#include "launcher/cli/run_command.h"
#include "launcher/cli/run_events.h"
#include "launcher/cli/run_plan.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/cli/written_content.h"
#include "launcher/host/programs.h"
#include "launcher/images/image_supply.h"
#include "launcher/vm/control_client.h"
#include "launcher/vm/image_workload.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

/// Before it is stopped: what can be known to keep it from being started again.
Result<void> check_starts_again(const StateDirs& dirs, const Options& options, const std::string& name) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, name));
  LB_ASSIGN(const VmRecord record, vm.record);
  if (vm.is_live() && record.run.remove_at_end)
    return fail(EINVAL, "it was run with --rm and would be gone once it has stopped: 'layerboot exec ", name,
                " reboot' boots it anew, 'layerboot stop ", name, "' ends it");
  if (record.image.empty())
    return fail(EINVAL, "it was run on somebody else's daemon: stop it, and use 'run --socket-path' again");
  // As start_vm() will look for it.
  LB_ASSIGN(const std::string image,
            supply_image(dirs, image_to_go_on_from(dirs, record),
                         {.policy = PullPolicy::kNever, .platform = record.run.platform}));
  LB_TRY(image_workload(dirs, image, image_platform(record.run)));
  LB_TRY(check_host_has(record.run));
  LB_TRY(find_qemu(options.qemu, architecture_of(record.run)));
  // A disk is QEMU's own matter; volumes are directories in any case.
  if (!record.run.disk_root || !record.run.volumes.empty()) LB_TRY(find_vfsd(options.vfsd));
  LB_TRY(find_guest_init(options.guest_init, architecture_of(record.run)));
  return {};
}

/// One that had to be cut off is started again as well: that is what was asked for.
Result<void> stop_before_start(const StateDirs& dirs, const Options& options, const std::string& name) {
  LB_ASSIGN(const std::string wrong, power_off_vm(dirs, name, options.stop_seconds));
  if (!wrong.empty()) log_warn(name, ": ", wrong);
  return {};
}

/// A start ends in two processes, one of which stays with the VM: here in one of its own, so that the next
/// can be started.
Result<void> start_apart(const StateDirs& dirs, const Options& options, const std::string& name) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("fork");
  if (child == 0) {
    Options one = options;
    one.name = name;
    const auto started = start_vm(dirs, one);
    if (!started && !started.error().text.empty()) log_error(started.error().describe());
    std::fflush(stdout);
    std::exit(started ? *started : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Result<void>(std::unexpected(Error{EIO, ""}));  // it has said why
}

/// Somebody whose end is waited for.
struct Awaited {
  VmView vm;
  std::optional<UniqueFd> end;  // what the supervisor says of it; none when the VM did not run
};

Result<Awaited> begin_to_wait(const StateDirs& dirs, const std::string& name) {
  LB_ASSIGN(VmView vm, look_at_vm(dirs, name));
  Awaited awaited{.vm = std::move(vm), .end = {}};
  auto client = supervisor_of(awaited.vm.paths);
  // It does not run: another command works on it.
  if (!client && client.error().code == EBUSY) return awaited;
  if (!client) return std::unexpected(client.error());
  if (!*client) return awaited;
  LB_TRY((*client)->ask({.verb = ControlVerb::kWait, .timeout_seconds = {}}));
  awaited.end = (*client)->take_socket();
  return awaited;
}

Result<json> read_end(const UniqueFd& socket) {
  std::string text;
  while (text.find('\n') == std::string::npos && text.size() < kMaxControlLineBytes) {
    char chunk[1024];
    const ssize_t got = ::recv(socket.get(), chunk, sizeof(chunk), 0);
    // The client's patience is on the socket.
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return fail(ECONNRESET, "its supervisor was killed");
    text.append(chunk, static_cast<std::size_t>(got));
  }
  json end = json::parse(text, nullptr, false);
  if (!end.is_object() || !end.contains("exit_status") || !end["exit_status"].is_number_integer())
    return fail(EPROTO, "its supervisor gave no sensible answer");
  return end;
}

Result<int> wait_for(const Awaited& awaited) {
  if (awaited.end) {
    LB_ASSIGN(const json end, read_end(*awaited.end));
    return end["exit_status"].get<int>();
  }
  const auto& run = awaited.vm.last_run;
  if (!run) return fail(ENODATA, "it has never run");
  if (!run->ended) return fail(ECONNRESET, "its supervisor was killed");
  return run->exit_status;
}

}  // namespace

Result<int> start_vms(const StateDirs& dirs, const Options& options) {
  if (options.names.size() == 1) {
    Options one = options;
    one.name = options.names.front();
    return start_vm(dirs, one);
  }
  int status = 0;
  for (const std::string& name : options.names) {
    if (!start_apart(dirs, options, name)) status = 1;
  }
  return status;
}

Result<int> restart_vms(const StateDirs& dirs, const Options& options) {
  int status = 0;
  for (const std::string& name : options.names) {
    auto done = check_starts_again(dirs, options, name);
    if (done) done = stop_before_start(dirs, options, name);
    if (done) done = start_apart(dirs, options, name);
    if (done) continue;
    if (!done.error().text.empty()) log_error(name, ": ", done.error().describe());
    status = 1;
  }
  return status;
}

Result<int> wait_for_vms(const StateDirs& dirs, const Options& options) {
  std::vector<std::pair<std::string, Result<Awaited>>> all;
  all.reserve(options.names.size());
  // First all of them: one that ends meanwhile may be gone.
  for (const std::string& name : options.names) all.emplace_back(name, begin_to_wait(dirs, name));
  int status = 0;
  for (const auto& [name, awaited] : all) {
    const auto ended = awaited ? wait_for(*awaited) : Result<int>(std::unexpected(awaited.error()));
    if (ended) {
      std::printf("%d\n", *ended);
      std::fflush(stdout);
      continue;
    }
    log_error(name, ": ", ended.error().describe());
    status = 1;
  }
  return status;
}

Result<void> rename_vm(const StateDirs& dirs, const Options& options) {
  auto directory = VmDirectory::open_existing(dirs, options.name);
  if (!directory && directory.error().code == EBUSY)
    return fail(EBUSY, "VM ", options.name, " is running: 'layerboot stop ", options.name, "' first");
  if (!directory) return std::unexpected(directory.error());
  VmEvent event = event_of("rename", options.name, directory->paths());
  event.new_name = options.new_name;
  LB_TRY(directory->rename(dirs, options.new_name));
  note_event(directory->paths().event_log, event);
  return {};
}

}  // namespace layerboot::launcher
