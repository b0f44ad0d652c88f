#include "launcher/cli/up_wait.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "guest-init/exit_codes.h"
#include "launcher/cli/exec_command.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::size_t kMaxSaidBytes = 4096;
/// Before systemd has a bus to be asked by.
constexpr seconds kAskAgain{1};

/// What a program of the guest's says, without its end of line; nothing where there is no such program.
Result<std::optional<std::string>> ask_guest(const StateDirs& dirs, const std::string& name,
                                             std::vector<std::string> command, seconds bound) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  LB_ASSIGN(const UniqueFd nowhere, open_path("/dev/null", O_WRONLY));
  guest_init::SessionRequest request;
  request.arguments = std::move(command);
  request.user = "0:0";
  request.directory = "/";
  std::string failure;  // that there is no such program is an answer
  LB_ASSIGN(const int code, run_own_session(dirs, name, request,
                                            {.input = -1, .output = write_end.get(), .error = nowhere.get()},
                                            bound, &failure));
  write_end.reset();
  if (code == guest_init::kNotFound || code == guest_init::kNotRunnable) return std::nullopt;
  LB_ASSIGN(std::string said, read_all(read_end.get(), kMaxSaidBytes));
  while (said.ends_with('\n')) said.pop_back();
  return said;
}

/// systemctl's word for the system's state, or "none" where the guest's init is no systemd. systemctl itself
/// says "offline" to both, for as long as a systemd has just begun.
Result<std::string> ask_systemd(const StateDirs& dirs, const std::string& name, seconds bound) {
  LB_ASSIGN(const auto state, ask_guest(dirs, name, {"systemctl", "is-system-running", "--wait"}, bound));
  if (!state) return "none";
  if (*state != "offline") return *state;
  LB_ASSIGN(const auto init, ask_guest(dirs, name, {"readlink", "/proc/1/exe"}, bound));
  return std::string(init && init->ends_with("/systemd") ? "offline" : "none");
}

}  // namespace

Result<void> wait_until_up(const StateDirs& dirs, const std::string& name, seconds bound) {
  // The signal itself ends us once this has been said.
  const InterruptScope interrupts;
  const auto end = steady_clock::now() + bound;
  for (;;) {
    if (auto interrupted = InterruptScope::check(); !interrupted) {
      log_warn("no longer waiting: VM ", name, " goes on, 'layerboot stop ", name, "' ends it");
      return interrupted;
    }
    const auto left = std::chrono::duration_cast<seconds>(end - steady_clock::now());
    auto state = left.count() > 0 ? ask_systemd(dirs, name, left)
                                  : Result<std::string>(fail(ETIMEDOUT, "no time is left"));
    if (!state && state.error().code == ETIMEDOUT) {
      return fail(ETIMEDOUT, "VM ", name, " is not up after ", bound.count(),
                  " s, and goes on: 'layerboot logs ", name, "' shows how far it is");
    }
    if (!state && state.error().code == EINTR) continue;
    if (!state) return while_doing(state.error(), "VM ", name, " ended before it was up");
    if (*state == "degraded") log_warn("VM ", name, " is up, but units of its systemd have failed");
    if (*state == "running" || *state == "degraded" || *state == "none" || *state == "maintenance") return {};
    std::this_thread::sleep_for(kAskAgain);
  }
}

}  // namespace layerboot::launcher
