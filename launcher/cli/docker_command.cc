#include "launcher/cli/docker_command.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "launcher/agent/docker_answer.h"
#include "launcher/cli/exec_command.h"
#include "launcher/host/programs.h"
#include "launcher/host/signals.h"
#include "launcher/host/unix_socket.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kAskAgain{1};
/// systemd takes the connection before the engine is there, which begins then.
constexpr seconds kOneAnswer{60};

Result<void> ask_version(const std::filesystem::path& socket, seconds bound) {
  LB_ASSIGN(const UniqueFd connection, connect_to(socket));
  const timeval patience{.tv_sec = bound.count(), .tv_usec = 0};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  const std::string request = docker_request("/version");
  if (::send(connection.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return errno_error("the VM's Docker engine");
  }
  LB_ASSIGN(const std::string answer, read_all(connection.get(), kMaxDockerAnswerBytes));
  LB_TRY(docker_body(answer));
  return {};
}

}  // namespace

std::string docker_host(const StateDirs& dirs, const std::string& name) {
  return str_cat("unix://", VmPaths(dirs, name).docker_socket().string());
}

Result<void> wait_for_docker(const StateDirs& dirs, const std::string& name, seconds bound) {
  const auto end = steady_clock::now() + bound;
  for (;;) {
    const auto left = std::chrono::duration_cast<seconds>(end - steady_clock::now());
    if (left.count() <= 0) {
      return fail(ETIMEDOUT, "the Docker engine of VM ", name, " does not answer after ", bound.count(),
                  " s; the VM goes on: 'layerboot exec ", name, " -- systemctl status docker' may tell why");
    }
    if (ask_version(VmPaths(dirs, name).docker_socket(), std::min(left, kOneAnswer))) return {};
    auto runs = check_vm_runs(dirs, name);
    if (!runs) return while_doing(runs.error(), "VM ", name, " ended before its Docker engine answered");
    std::this_thread::sleep_for(kAskAgain);
  }
}

Result<int> use_docker(const StateDirs& dirs, const Options& options) {
  const std::string& name = options.name;
  LB_TRY(check_vm_runs(dirs, name));
  LB_ASSIGN(const VmRecord record, load_vm_record(VmPaths(dirs, name)));
  if (!record.run.docker) return fail(EINVAL, "VM ", name, " was not started with 'layerboot run --docker'");
  // The client does not look who answers it.
  LB_TRY(connect_to(VmPaths(dirs, name).docker_socket()));
  const auto client = find_in_path("docker");
  if (!client) {
    Options in_guest = options;
    in_guest.guest_command.insert(in_guest.guest_command.begin(), "docker");
    in_guest.interactive = true;
    in_guest.terminal = ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
    return exec_in_vm(dirs, in_guest);
  }
  std::vector<std::string> argv = {client->string()};
  argv.insert(argv.end(), options.guest_command.begin(), options.guest_command.end());
  ::setenv("DOCKER_HOST", docker_host(dirs, name).c_str(), 1);
  // A context of the user's would be asked instead.
  ::unsetenv("DOCKER_CONTEXT");
  restore_idle_signals();
  ::execv(client->c_str(), exec_pointers(argv).data());
  return errno_error("cannot run ", client->string());
}

}  // namespace layerboot::launcher
