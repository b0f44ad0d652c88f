// Supervision: one run of a plan; the inside of supervisor.h.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/agent/guest_link.h"
#include "launcher/console/console.h"
#include "launcher/console/console_hub.h"
#include "launcher/console/console_log.h"
#include "launcher/host/exit_watch.h"
#include "launcher/host/log_bound.h"
#include "launcher/qemu/qmp.h"
#include "launcher/supervise/child_words.h"
#include "launcher/supervise/console_shell.h"
#include "launcher/supervise/control_server.h"
#include "launcher/supervise/daemon_process.h"
#include "launcher/supervise/pause_lease.h"
#include "launcher/supervise/supervisor.h"
#include "oci-mount/base/log_limit.h"

namespace layerboot::launcher {

struct WatchedChild {
  std::unique_ptr<ChildWords> words;  // before the process, which may speak until its end
  Child process;
  std::unique_ptr<ExitWatch> watch = nullptr;
};

/// Everything happens on the io_context's one thread. supervision_up.cc has the way up, supervisor.cc what
/// happens meanwhile, supervision_guest.cc what the guest has inside, supervision_down.cc the way down.
///
/// Up: daemons started -> all say ready -> connected -> QEMU started. Down, whatever the reason, in reverse:
/// QEMU ended and its last words written -> daemons told to flush and end -> done. Each step down has a
/// bound.
class Supervision {
 public:
  explicit Supervision(const SupervisorPlan& plan) : plan_(plan) {}

  Result<int> run();
  /// Once it has ended, to those who wait for that.
  void tell_waiters(const Result<int>& outcome) const;
  /// Somebody asked for the end.
  [[nodiscard]] bool was_stopped() const { return stop_asked_; }

 private:
  static constexpr std::size_t kMaxWaiters = 32;
  /// What a console says before it is known whether anybody is to see it.
  static constexpr std::size_t kMaxHeldBytes = std::size_t{64} << 10;
  /// So soon after its agent has answered, the guest may still find that it can't run its init.
  static constexpr std::chrono::seconds kStillBooting{10};

  // Up.
  Result<void> open_control();
  Result<void> start_daemons();
  void daemon_ready();
  void all_ready();
  void mark_indexes_open();
  Result<void> start_vmm();
  Result<WatchedChild> start_child(const ChildSpec& spec, const std::vector<int>& inherited);
  Result<void> start_network(std::vector<int>& inherited);
  void start_qmp(UniqueFd socket);
  Result<void> start_console(UniqueFd socket);
  void watch_foreign_daemon(pid_t pid);

  // The guest.
  Result<void> start_guest_link(UniqueFd port);
  void hold_console();
  void show_console();
  Result<void> join_console();
  void leave_console();
  void end_shell();
  void open_shell();
  void take_own_window();
  void tell_window();
  void guest_answered(guest_init::GuestKind kind);
  bool ask_for_interrupt();
  void console_heard(bool heard);
  void main_ended(const SessionEnd& end);
  bool hand_on_signal(int number);
  /// The exit code; makes an error of a command that was not run, and of a boot that stopped.
  int settle_outcome();

  // Meanwhile.
  void watch_signals();
  void greeted();
  void handle_event(const QmpEvent& event);
  Result<nlohmann::json> answer(const ControlRequest& request);
  nlohmann::json status() const;
  Result<nlohmann::json> resize_disk(std::uint64_t size_bytes);
  void take_over(UniqueFd socket, ControlVerb verb);
  void pause(UniqueFd socket);
  void hear_lines(std::string_view text);
  void hear_line(std::string_view line);
  void stop_by_request(const ControlRequest& request);

  // Down.
  void stop_requested(int signal);
  void power_down();
  void press_power_button();
  void ask_again_later();
  void bound_power_down();
  void guest_is_off();
  void quit_vmm();
  void vmm_ended();
  void drain_vmm();
  void finish_vmm_if_drained();
  [[nodiscard]] bool ended_by_guest() const;
  void stop_daemons();
  void kill_daemons();
  void leave_daemons();
  void leave_vmm();
  void tell_left_behind(const std::string& label, pid_t pid);
  [[nodiscard]] bool ended_as_told(const DaemonProcess& daemon, const ExitStatus& status) const;
  void fail_with(const std::string& label, const ExitStatus& status);
  void daemon_ended(std::size_t number);
  [[nodiscard]] bool serves_volume(std::size_t number) const;
  void volume_gone(const std::string& label, const ExitStatus& status);
  bool lost_with_volume();
  void daemon_gone_with_vmm(const std::string& text);
  void finish_if_nothing_left();
  void give_up(Error error);
  /// True when that was a guest that runs a command once.
  bool command_lost();
  void after(std::chrono::milliseconds delay, std::function<void()> action);
  void mark(std::string_view name);

  const SupervisorPlan& plan_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::steady_timer step_timer_{io_};  // the bound of the step being waited for
  std::uint64_t step_ = 0;
  boost::asio::steady_timer daemon_timer_{io_};
  boost::asio::steady_timer ask_timer_{io_};
  std::vector<std::unique_ptr<DaemonProcess>> daemons_;  // as in the plan; null once ended
  std::unique_ptr<ExitWatch> foreign_daemon_;
  std::optional<WatchedChild> network_;
  UniqueFd network_socket_;  // QEMU's end, until it has it
  std::string lost_volume_;  // the label of a daemon without which the guest runs on
  std::optional<WatchedChild> vmm_;
  std::unique_ptr<QmpClient> qmp_;
  std::unique_ptr<LogBound> log_bound_;
  std::optional<ConsoleLog> console_log_;
  std::unique_ptr<ConsoleHub> hub_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<ConsoleShell> shell_;  // after console_, whose terminal it has
  std::unique_ptr<ControlServer> control_;
  std::vector<UniqueFd> waiters_;
  std::unique_ptr<PauseLease> pause_;  // after qmp_, whose answers it waits for
  std::unique_ptr<GuestLink> link_;
  boost::asio::steady_timer hold_timer_{io_};
  boost::asio::steady_timer hearing_timer_{io_};
  boost::asio::steady_timer shell_timer_{io_};  // until a shell without further input is told again to end
  std::string held_;
  std::optional<WindowSize> window_;           // of the terminal that was last at the console, or has changed
  std::optional<guest_init::GuestKind> kind_;  // as its agent has told
  std::optional<SessionEnd> main_end_;
  LogLimit main_failures_;  // a guest that answers anew is told its command anew
  std::chrono::milliseconds power_down_bound_{};
  std::string heard_line_;    // the last line begun on the console
  std::string boot_stopped_;  // why, where the guest has said that its boot stopped
  std::optional<std::chrono::steady_clock::time_point> answered_at_;
  bool hub_open_ = false;
  bool console_open_ = false;
  bool qmp_open_ = false;
  bool link_open_ = false;
  bool console_decided_ = false;
  std::chrono::steady_clock::time_point console_began_;
  bool is_console_heard_ = false;  // by somebody in the guest, since it has booted
  bool hold_ends_ = false;
  bool interrupted_ = false;
  bool shell_told_ = false;  // that its input has ended
  bool greeted_ = false;
  std::optional<ExitStatus> vmm_status_;
  bool guest_shut_down_ = false;
  bool host_shut_down_ = false;  // QEMU was told to end by somebody here
  bool stop_asked_ = false;      // somebody asked for the end, in whichever way and at whatever moment
  bool stopping_ = false;        // the guest is asked to power off
  bool going_down_ = false;      // quit_vmm() or stop_daemons() has begun
  bool finished_ = false;
  int stop_signal_ = 0;        // why: the signal, or SIGTERM for a request, SIGINT for the console's escape
  bool command_lost_ = false;  // the guest reset itself, and its command with it
  unsigned quick_resets_ = 0;
  std::chrono::steady_clock::time_point last_reset_{};
  Result<void> outcome_;
};

}  // namespace layerboot::launcher
