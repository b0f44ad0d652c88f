#include "launcher/supervisor.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "launcher/console.h"
#include "launcher/qmp.h"
#include "launcher/unix_socket.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using StreamDescriptor = boost::asio::posix::stream_descriptor;

constexpr std::string_view kReadyLine = "ready\n";

/// Calls back once, when a process has ended.
class ExitWatch {
 public:
  ExitWatch(boost::asio::io_context& io, int pidfd, std::function<void()> ended) : stream_(io) {
    UniqueFd own(::fcntl(pidfd, F_DUPFD_CLOEXEC, kFirstInheritedFd));
    error_code error;
    stream_.assign(own.get(), error);
    if (!error) [[maybe_unused]]
      const int given = own.release();
    stream_.async_wait(StreamDescriptor::wait_read, [ended = std::move(ended)](error_code failed) {
      if (failed != boost::asio::error::operation_aborted) ended();
    });
  }

 private:
  StreamDescriptor stream_;
};

struct Watched {
  Child process;
  std::unique_ptr<ExitWatch> watch;
};

/// One run of a plan. Everything happens on the io_context's one thread.
///
/// Up: daemon started -> it says ready -> connected -> QEMU started. Down, whatever the reason, in reverse:
/// QEMU ended and its last words written -> daemon told to flush and end -> done. Each step down has a bound.
class Supervision {
 public:
  explicit Supervision(const SupervisorPlan& plan) : plan_(plan) {}

  Result<void> run();

 private:
  void watch_signals();
  void start_daemon();
  void read_ready();
  void ready_pipe_closed();
  void daemon_ready();
  Result<void> start_vmm();
  void watch_foreign_daemon(pid_t pid);
  void handle_event(const QmpEvent& event);
  void stop_requested(bool at_once);
  void power_down();
  void quit_vmm();
  void stop_daemon();
  void daemon_ended();
  void daemon_gone_with_vmm(const std::string& text);
  void vmm_ended();
  void finish_vmm_if_drained();
  void give_up(Error error);
  void after(milliseconds delay, std::function<void()> action);

  const SupervisorPlan& plan_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::steady_timer step_timer_{io_};  // the bound of the step being waited for
  boost::asio::steady_timer daemon_timer_{io_};
  std::optional<Watched> daemon_;
  std::unique_ptr<ExitWatch> foreign_daemon_;
  UniqueFd foreign_pidfd_;
  std::unique_ptr<StreamDescriptor> ready_pipe_;
  std::array<char, 64> ready_buffer_{};
  std::string ready_text_;
  std::optional<Watched> vmm_;
  std::unique_ptr<QmpClient> qmp_;
  std::unique_ptr<Console> console_;
  bool console_open_ = false;
  bool qmp_open_ = false;
  std::optional<ExitStatus> vmm_status_;
  bool guest_shut_down_ = false;
  bool stopping_ = false;    // a stop was asked for
  bool going_down_ = false;  // quit_vmm() or stop_daemon() has begun
  unsigned quick_resets_ = 0;
  steady_clock::time_point last_reset_{};
  Result<void> outcome_;
};

void Supervision::after(milliseconds delay, std::function<void()> action) {
  step_timer_.expires_after(delay);
  step_timer_.async_wait([action = std::move(action)](error_code error) {
    if (!error) action();
  });
}

Result<void> Supervision::run() {
  watch_signals();
  if (plan_.daemon) {
    start_daemon();
  } else {
    daemon_ready();
  }
  if (!io_.stopped()) io_.run();
  return outcome_;
}

void Supervision::watch_signals() {
  error_code error;
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    signals_.add(number, error);
    if (error) log_warn("cannot watch signal ", number, ": ", error.message());
  }
  signals_.async_wait([this](error_code failed, int number) {
    if (failed) return;
    log_debug("signal ", number);
    // Armed again first: the second signal must count.
    watch_signals();
    stop_requested(number == SIGQUIT);
  });
}

// ---- up

void Supervision::start_daemon() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return give_up(errno_error("pipe").error());
  UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  auto child = Child::spawn(*plan_.daemon, {write_end.get()});
  if (!child) return give_up(child.error());
  daemon_.emplace(Watched{*std::move(child), nullptr});
  daemon_->watch = std::make_unique<ExitWatch>(io_, daemon_->process.pidfd(), [this] { daemon_ended(); });
  ready_pipe_ = std::make_unique<StreamDescriptor>(io_);
  error_code error;
  ready_pipe_->assign(read_end.get(), error);
  if (error) return give_up(Error{EIO, error.message()});
  [[maybe_unused]] const int given = read_end.release();
  read_ready();
}

void Supervision::read_ready() {
  ready_pipe_->async_read_some(
      boost::asio::buffer(ready_buffer_), [this](error_code error, std::size_t size_bytes) {
        if (going_down_) return;
        if (error) return ready_pipe_closed();
        ready_text_.append(ready_buffer_.data(), size_bytes);
        if (ready_text_.size() < kReadyLine.size()) return read_ready();
        if (ready_text_ == kReadyLine) return daemon_ready();
        give_up(Error{EPROTO, str_cat(plan_.daemon->label, " said something else than that it is ready")});
      });
}

void Supervision::ready_pipe_closed() {
  // As a rule its end follows, and tells more.
  daemon_timer_.expires_after(plan_.bounds.quit);
  daemon_timer_.async_wait([this](error_code error) {
    if (error || going_down_ || !daemon_) return;
    give_up(Error{EPROTO, str_cat(daemon_->process.label(), " runs, but did not say that it is ready")});
  });
}

void Supervision::daemon_ready() {
  if (plan_.on_ready) plan_.on_ready();
  if (!plan_.vmm) {
    log_info("serving at ", plan_.socket.string(), ", Ctrl-C ends it");
    return;
  }
  if (auto started = start_vmm(); !started) give_up(started.error());
}

Result<void> Supervision::start_vmm() {
  DaemonConnection connection;
  if (plan_.socket.empty()) {
    // Keeps the number, so that the others have theirs.
    LB_ASSIGN(connection.socket, open_path("/dev/null", O_RDWR));
  } else {
    LB_ASSIGN(connection, connect_daemon(plan_.socket));
  }
  LB_ASSIGN(auto console_ends, socket_pair());
  LB_ASSIGN(auto qmp_ends, socket_pair());
  if (!daemon_ && !plan_.socket.empty()) watch_foreign_daemon(connection.daemon);
  LB_ASSIGN(Child child, Child::spawn(*plan_.vmm, {connection.socket.get(), console_ends.second.get(),
                                                   qmp_ends.second.get()}));
  vmm_.emplace(Watched{std::move(child), nullptr});
  vmm_->watch = std::make_unique<ExitWatch>(io_, vmm_->process.pidfd(), [this] { vmm_ended(); });

  qmp_ = std::make_unique<QmpClient>(io_, std::move(qmp_ends.first));
  qmp_open_ = true;
  qmp_->on_event([this](const QmpEvent& event) { handle_event(event); });
  qmp_->on_closed([this](const Error& why) {
    if (!why.text.empty()) log_warn(why.describe());
    qmp_open_ = false;
    finish_vmm_if_drained();
  });
  qmp_->start();

  console_ =
      std::make_unique<Console>(io_, std::move(console_ends.first), plan_.console_input, plan_.console_output,
                                Console::Handlers{.escape = [this] { stop_requested(false); },
                                                  .closed =
                                                      [this] {
                                                        console_open_ = false;
                                                        finish_vmm_if_drained();
                                                      }});
  LB_TRY(console_->start());
  console_open_ = true;
  if (console_->on_terminal()) log_info("console: Ctrl-] three times within a second stops the VM");
  return {};
}

void Supervision::watch_foreign_daemon(pid_t pid) {
  Result<UniqueFd> pidfd = fail(ESRCH, "it is in another PID namespace");
  if (pid > 0) pidfd = open_pidfd(pid);
  if (!pidfd) {
    log_debug("the daemon can't be watched: ", pidfd.error().describe());
    return;
  }
  foreign_pidfd_ = *std::move(pidfd);
  foreign_daemon_ = std::make_unique<ExitWatch>(io_, foreign_pidfd_.get(), [this] {
    daemon_gone_with_vmm(str_cat("the daemon at ", plan_.socket.string(), " has ended: the VM was stopped"));
  });
}

// ---- meanwhile

void Supervision::handle_event(const QmpEvent& event) {
  log_debug("QEMU: ", event.name);
  if (event.name == "SHUTDOWN" && event.guest) guest_shut_down_ = true;
  if (event.name != "RESET" || !event.guest) return;
  const auto now = steady_clock::now();
  quick_resets_ = now - last_reset_ <= kQuickReset ? quick_resets_ + 1 : 1;
  last_reset_ = now;
  if (quick_resets_ < kMaxQuickResets) return;
  give_up(Error{EIO, str_cat("the guest reset itself ", kMaxQuickResets,
                             " times in a row without booting: see its console above")});
}

// ---- down

void Supervision::stop_requested(bool at_once) {
  if (!vmm_ && going_down_) return;
  if (!vmm_ && plan_.vmm) outcome_ = fail(EINTR, "stopped before the VM was started");
  if (!vmm_) return stop_daemon();
  if (vmm_status_) return;
  if (!at_once && !std::exchange(stopping_, true)) return power_down();
  if (outcome_) outcome_ = fail(EINTR, "the VM was stopped at once: the guest may have lost data");
  quit_vmm();
}

void Supervision::power_down() {
  log_info("asking the guest to power off; once more stops it at once");
  qmp_->execute("system_powerdown", [this](Result<void> sent) {
    if (sent || vmm_status_) return;
    if (outcome_) outcome_ = while_doing(sent.error(), "cannot ask the guest to power off");
    quit_vmm();
  });
  after(plan_.bounds.power_down, [this] {
    if (outcome_) {
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(plan_.bounds.power_down).count();
      outcome_ = fail(ETIMEDOUT, "the guest did not power off within ", seconds,
                      " s and was stopped: it may have ", "lost data");
    }
    quit_vmm();
  });
}

void Supervision::quit_vmm() {
  going_down_ = true;
  if (!vmm_ || vmm_status_) return stop_daemon();
  // QEMU says goodbye to a signal on standard error, to this command it does not.
  qmp_->execute("quit", [this](Result<void> sent) {
    if (!sent && vmm_ && !vmm_status_) vmm_->process.send(SIGTERM);
  });
  after(plan_.bounds.quit, [this] {
    log_warn(vmm_->process.label(), " did not end when asked: killed");
    vmm_->process.send(SIGKILL);
  });
}

void Supervision::vmm_ended() {
  vmm_status_ = vmm_->process.wait();
  if (outcome_ && !vmm_status_->clean()) {
    outcome_ = fail(EIO, vmm_->process.label(), " failed with ", vmm_status_->describe());
  }
  after(plan_.bounds.drain, [this] {
    console_open_ = false;
    qmp_open_ = false;
    finish_vmm_if_drained();
  });
  finish_vmm_if_drained();
}

void Supervision::finish_vmm_if_drained() {
  if (!vmm_ || !vmm_status_ || console_open_ || qmp_open_) return;
  if (outcome_ && !guest_shut_down_) {
    outcome_ = fail(EIO, vmm_->process.label(), " was stopped from outside: the guest may have lost data");
  }
  console_.reset();  // the terminal is back before anything else is said
  vmm_.reset();
  stop_daemon();
}

void Supervision::stop_daemon() {
  going_down_ = true;
  if (!daemon_) return io_.stop();
  daemon_->process.send(SIGTERM);
  after(plan_.bounds.flush, [this] {
    log_warn(daemon_->process.label(),
             " did not end when asked: killed, the VM's disk may lack its last writes");
    daemon_->process.send(SIGKILL);
  });
}

void Supervision::daemon_ended() {
  const ExitStatus status = daemon_->process.wait();
  const std::string label = daemon_->process.label();
  daemon_.reset();
  const bool on_its_own = !going_down_ && !vmm_status_;
  if (on_its_own && vmm_) {
    const std::string text = str_cat(label, " ended with ", status.describe(), ": the VM was stopped");
    if (!status.clean()) return give_up(Error{EPIPE, text});
    return daemon_gone_with_vmm(text);
  }
  if (on_its_own && plan_.vmm && status.clean()) {
    outcome_ = fail(EPIPE, label, " ended before it was ready");
  } else if (outcome_ && !status.clean()) {
    // With an exit status it has itself said why.
    outcome_ =
        std::unexpected(Error{EIO, status.signaled ? str_cat(label, " ended with ", status.describe()) : ""});
  }
  if (!vmm_) io_.stop();
}

void Supervision::daemon_gone_with_vmm(const std::string& text) {
  // A daemon that serves one VM ends when QEMU does, and may be seen to first.
  daemon_timer_.expires_after(plan_.bounds.same_end);
  daemon_timer_.async_wait([this, text](error_code error) {
    if (!error && vmm_ && !vmm_status_) give_up(Error{EPIPE, text});
  });
}

void Supervision::give_up(Error error) {
  if (outcome_) outcome_ = std::unexpected(std::move(error));
  quit_vmm();
}

}  // namespace

Result<void> supervise(const SupervisorPlan& plan) {
  // A reader of our output that is gone must not take the VM with it. Children get the default back.
  std::signal(SIGPIPE, SIG_IGN);
  return Supervision(plan).run();
}

}  // namespace layerboot::launcher
