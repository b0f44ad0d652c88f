#include "launcher/cli/exec_command.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <optional>

#include "launcher/host/run_tool.h"
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
    const bool known = std::filesystem::exists(dirs.vms() / name, ignored);
    return std::unexpected(known ? vm_not_running(name) : no_such_vm(dirs, name));
  }
  return socket;
}

/// One session, from its request to its end.
class SessionRun {
 public:
  SessionRun(UniqueFd socket, SessionStdio stdio)
      : client_(io_, std::move(socket), stdio, [this](SessionEnd end) {
          end_ = std::move(end);
          io_.stop();
        }) {}

  void hand_on_signals() {
    error_code error;
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH})
      signals_.add(number, error);
    watch_signals();
  }
  void end_when_interrupted() {
    interrupt_timer_.expires_after(kInterruptCheck);
    interrupt_timer_.async_wait([this](error_code failed) {
      if (failed) return;
      give_up_ = InterruptScope::check();
      if (!give_up_) return io_.stop();
      end_when_interrupted();
    });
  }
  void end_after(std::chrono::seconds bound) {
    bound_timer_.expires_after(bound);
    bound_timer_.async_wait([this](error_code failed) {
      if (failed) return;
      give_up_ = fail(ETIMEDOUT, "the VM did not answer in time");
      io_.stop();
    });
  }
  Result<int> run(const guest_init::SessionRequest& request, std::string* failure) {
    LB_TRY(client_.start(request));
    io_.run();
    LB_TRY(give_up_);
    if (!end_) return fail(EIO, "interrupted");
    if (failure != nullptr) {
      *failure = end_->failure;
    } else if (!end_->failure.empty()) {
      log_error(end_->failure);
    }
    return end_->exit_code;
  }

 private:
  static constexpr std::chrono::milliseconds kInterruptCheck{100};

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
  boost::asio::steady_timer interrupt_timer_{io_};
  boost::asio::steady_timer bound_timer_{io_};
  SessionClient client_;
  std::optional<SessionEnd> end_;
  unsigned interrupts_ = 0;
  Result<void> give_up_;
};

}  // namespace

Result<void> check_vm_runs(const StateDirs& dirs, const std::string& name) {
  LB_TRY(connect_agent(dirs, name));
  return {};
}

Result<int> run_session(const StateDirs& dirs, const std::string& name,
                        const guest_init::SessionRequest& request, SessionStdio stdio) {
  LB_ASSIGN(UniqueFd socket, connect_agent(dirs, name));
  SessionRun session(std::move(socket), stdio);
  session.hand_on_signals();
  return session.run(request, nullptr);
}

Result<int> run_own_session(const StateDirs& dirs, const std::string& name,
                            const guest_init::SessionRequest& request, SessionStdio stdio,
                            std::optional<std::chrono::seconds> bound, std::string* failure) {
  LB_ASSIGN(UniqueFd socket, connect_agent(dirs, name));
  SessionRun session(std::move(socket), stdio);
  if (bound) session.end_after(*bound);
  session.end_when_interrupted();
  return session.run(request, failure);
}

namespace {

/// A program that no guest has is as good a question as any: who answers that it is not there, answers.
Result<int> probe_vm(const StateDirs& dirs, const std::string& name) {
  constexpr std::chrono::seconds kOneAnswer{60};
  guest_init::SessionRequest request;
  request.arguments = {"/layerboot/probe"};
  request.user = "0:0";
  request.directory = "/";
  std::string failure;
  LB_TRY(run_own_session(dirs, name, request, {}, kOneAnswer, &failure));
  return 0;
}

}  // namespace

Result<int> exec_in_vm(const StateDirs& dirs, const Options& options) {
  if (options.probe) return probe_vm(dirs, options.name);
  guest_init::SessionRequest request;
  request.arguments = options.guest_command;
  request.environment = options.environment;
  request.user = options.user;
  request.directory = options.workdir;
  request.detached = options.detach;
  if (options.terminal && !options.detach) LB_TRY(ask_for_terminal(request));
  return run_session(dirs, options.name, request,
                     {.input = options.interactive && !options.detach ? STDIN_FILENO : -1,
                      .output = STDOUT_FILENO,
                      .error = STDERR_FILENO});
}

}  // namespace layerboot::launcher
