#include "launcher/cli/exec_command.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <optional>

#include "launcher/host/unix_socket.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;

/// Somebody who presses Ctrl-C this often wants out, whatever the program does with it.
constexpr unsigned kMaxInterrupts = 3;

Result<UniqueFd> connect_agent(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_name(name));
  auto socket = connect_to(VmPaths(dirs, name).agent_socket());
  if (socket) return socket;
  const int code = socket.error().code;
  if (code == ENOENT || code == ECONNREFUSED) {
    std::error_code ignored;
    if (std::filesystem::exists(dirs.vms() / name, ignored)) {
      return fail(code, "VM ", name, " is not running: start it with 'layerboot run'");
    }
    return fail(code, "there is no VM ", name);
  }
  return socket;
}

/// One session with this process's signals handed on.
class SessionRun {
 public:
  SessionRun(UniqueFd socket, SessionStdio stdio)
      : client_(io_, std::move(socket), stdio, [this](SessionEnd end) {
          end_ = std::move(end);
          io_.stop();
        }) {}

  Result<int> run(const guest_init::SessionRequest& request) {
    error_code error;
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH})
      signals_.add(number, error);
    watch_signals();
    LB_TRY(client_.start(request));
    io_.run();
    if (!end_) return fail(EIO, "interrupted");
    if (!end_->failure.empty()) log_error(end_->failure);
    return end_->exit_code;
  }

 private:
  void watch_signals() {
    signals_.async_wait([this](error_code failed, int number) {
      if (failed) return;
      watch_signals();
      if (number == SIGWINCH) return client_.send_window();
      client_.send_signal(number);
      if (number == SIGINT && ++interrupts_ == kMaxInterrupts) io_.stop();
    });
  }

  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  SessionClient client_;
  std::optional<SessionEnd> end_;
  unsigned interrupts_ = 0;
};

}  // namespace

Result<void> check_vm_runs(const StateDirs& dirs, const std::string& name) {
  LB_TRY(connect_agent(dirs, name));
  return {};
}

Result<int> run_session(const StateDirs& dirs, const std::string& name,
                        const guest_init::SessionRequest& request, SessionStdio stdio) {
  LB_ASSIGN(UniqueFd socket, connect_agent(dirs, name));
  return SessionRun(std::move(socket), stdio).run(request);
}

Result<int> exec_in_vm(const StateDirs& dirs, const Options& options) {
  guest_init::SessionRequest request;
  request.arguments = options.guest_command;
  request.environment = options.environment;
  request.user = options.user;
  request.directory = options.workdir;
  if (options.terminal) LB_TRY(ask_for_terminal(request));
  return run_session(
      dirs, options.name, request,
      {.input = options.interactive ? STDIN_FILENO : -1, .output = STDOUT_FILENO, .error = STDERR_FILENO});
}

}  // namespace layerboot::launcher
