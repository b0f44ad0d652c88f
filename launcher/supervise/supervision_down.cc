#include <algorithm>
#include <csignal>
#include <utility>

#include "launcher/supervise/supervision.h"
#include "launcher/supervise/vfsd_args.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;

}  // namespace

void Supervision::after(std::chrono::milliseconds delay, std::function<void()> action) {
  step_timer_.expires_after(delay);
  // A step that is over may have its time up at the same moment as its end.
  step_timer_.async_wait([this, step = ++step_, action = std::move(action)](error_code error) {
    if (!error && step == step_) action();
  });
}

void Supervision::stop_requested(int signal) {
  stop_asked_ = true;
  const bool at_once = signal == SIGQUIT;
  if (stop_signal_ == 0) stop_signal_ = signal;
  if (!vmm_ && going_down_) return;
  if (!vmm_ && plan_.vmm) outcome_ = fail(EINTR, "stopped before the VM was started");
  if (!vmm_) return stop_daemons();
  if (vmm_status_) return;
  if (!at_once && !std::exchange(stopping_, true)) {
    if (!guest_shut_down_) power_down();
    return;
  }
  if (outcome_) outcome_ = fail(EINTR, "the VM was stopped at once: the guest may have lost data");
  quit_vmm();
}

void Supervision::power_down() {
  log_info("asking the guest to power off; once more stops it at once");
  // One that stands still hears nothing.
  if (pause_) pause_->break_off("the VM was told to stop, and went on for that");
  // Its own agent is surer than a button that something has to hear.
  const bool by_agent = link_ && (link_->runs_command() || !plan_.power_button);
  if (!by_agent || !link_->power_off()) press_power_button();
  ask_again_later();
  bound_power_down();
}

void Supervision::press_power_button() {
  qmp_->execute("system_powerdown", [this](Result<void> sent) {
    if (sent || vmm_status_) return;
    if (outcome_) outcome_ = while_doing(sent.error(), "cannot ask the guest to power off");
    quit_vmm();
  });
}

/// A guest that is still booting hears neither button nor agent, and what is not heard is lost.
void Supervision::ask_again_later() {
  ask_timer_.expires_after(plan_.bounds.ask_again);
  ask_timer_.async_wait([this](error_code error) {
    if (error || going_down_ || guest_shut_down_ || !vmm_ || vmm_status_) return;
    log_debug("the guest still runs: asking it once more");
    if (link_) link_->power_off();
    press_power_button();
    ask_again_later();
  });
}

void Supervision::bound_power_down() {
  after(power_down_bound_, [this] {
    if (outcome_) {
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(power_down_bound_).count();
      outcome_ = fail(ETIMEDOUT, "the guest did not power off within ", seconds,
                      " s and was stopped: it may have lost data");
    }
    quit_vmm();
  });
}

/// QEMU stops its devices before it ends, and waits for those whose daemon waits for a share.
void Supervision::guest_is_off() {
  if (std::exchange(guest_shut_down_, true) || going_down_ || !vmm_ || vmm_status_) return;
  after(plan_.bounds.clear_up, [this] {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(plan_.bounds.clear_up).count();
    if (outcome_)
      outcome_ = fail(ETIMEDOUT, vmm_->process.label(), " did not end within ", seconds,
                      " s after the guest was off and was stopped: a disk or share may not answer");
    quit_vmm();
  });
}

void Supervision::quit_vmm() {
  going_down_ = true;
  if (!vmm_ || vmm_status_) return stop_daemons();
  // QEMU says goodbye to a signal on standard error, to this command it does not.
  qmp_->execute("quit", [this](Result<void> sent) {
    if (!sent && vmm_ && !vmm_status_) vmm_->process.send(SIGTERM);
  });
  after(plan_.bounds.quit, [this] {
    log_warn(vmm_->process.label(), " did not end when asked: killed");
    vmm_->process.send(SIGKILL);
    after(plan_.bounds.kill, [this] { leave_vmm(); });
  });
}

/// A process that waits for a disk or a network share which is dead outlives SIGKILL, for as long.
void Supervision::tell_left_behind(const std::string& label, pid_t pid) {
  log_error(label, " (process ", pid, ") can't be killed: a disk or share that it waits for does not answer");
  if (outcome_) outcome_ = fail(EBUSY, label, " was left behind");
}

void Supervision::leave_vmm() {
  if (!vmm_ || vmm_status_) return;
  tell_left_behind(vmm_->process.label(), vmm_->process.pid());
  vmm_->watch.reset();
  vmm_->process.leave();
  vmm_status_ = ExitStatus{.signaled = true, .value = SIGKILL};
  drain_vmm();
}

void Supervision::vmm_ended() {
  vmm_status_ = vmm_->process.wait();
  vmm_->words->finish();
  if (outcome_ && !vmm_status_->clean()) {
    outcome_ = fail(EIO, vmm_->process.label(), " failed with ", vmm_status_->describe());
  }
  drain_vmm();
}

void Supervision::drain_vmm() {
  after(plan_.bounds.drain, [this] {
    hub_open_ = false;
    console_open_ = false;
    qmp_open_ = false;
    link_open_ = false;
    finish_vmm_if_drained();
  });
  finish_vmm_if_drained();
}

/// Some machines' power-off is QEMU's end without a word of it (riscv64's virt before QEMU 8): then it is the
/// guest's where its agent has told of its command's end, or was asked to power off. Any other end QEMU tells
/// of.
bool Supervision::ended_by_guest() const {
  const bool meant = main_end_.has_value() || (stopping_ && !plan_.power_button);
  return guest_shut_down_ || (meant && !host_shut_down_ && vmm_status_ && vmm_status_->clean());
}

void Supervision::finish_vmm_if_drained() {
  if (!vmm_ || !vmm_status_ || hub_open_ || console_open_ || qmp_open_ || link_open_) return;
  if (outcome_ && !ended_by_guest()) {
    outcome_ = fail(EIO, vmm_->process.label(), " was stopped from outside: the guest may have lost data");
  }
  shell_.reset();
  console_.reset();  // the terminal is back before anything else is said
  link_.reset();
  hub_.reset();
  vmm_.reset();
  network_.reset();
  stop_daemons();
}

void Supervision::stop_daemons() {
  going_down_ = true;
  for (const auto& daemon : daemons_) {
    if (daemon) daemon->send(SIGTERM);
  }
  finish_if_nothing_left();
  if (finished_) return;
  after(plan_.bounds.flush, [this] { kill_daemons(); });
}

void Supervision::kill_daemons() {
  for (const auto& daemon : daemons_) {
    if (!daemon) continue;
    log_warn(daemon->label(), " did not end when asked: killed, what it wrote last may be missing");
    daemon->send(SIGKILL);
  }
  after(plan_.bounds.kill, [this] { leave_daemons(); });
}

void Supervision::leave_daemons() {
  for (auto& daemon : daemons_) {
    if (!daemon) continue;
    tell_left_behind(daemon->label(), daemon->pid());
    daemon->leave();
    daemon.reset();
  }
  finish_if_nothing_left();
}

void Supervision::finish_if_nothing_left() {
  if (vmm_ || std::ranges::any_of(daemons_, [](const auto& daemon) { return daemon != nullptr; })) return;
  finished_ = true;
  ask_timer_.cancel();
  io_.stop();
}

void Supervision::daemon_ended(std::size_t number) {
  // Kept until the end of this: its own callback is running.
  const auto daemon = std::move(daemons_.at(number));
  const ExitStatus status = daemon->wait();
  const std::string& label = daemon->label();
  const bool on_its_own = !going_down_ && !vmm_status_;
  if (on_its_own && vmm_ && serves_volume(number)) return volume_gone(label, status);
  if (on_its_own && vmm_) {
    const std::string text = str_cat(label, " ended with ", status.describe(), ": the VM was stopped");
    if (!status.clean()) return give_up(Error{EPIPE, text});
    return daemon_gone_with_vmm(text);
  }
  const bool other_image = !status.signaled && status.value == kVfsdOtherImage;
  if (on_its_own && plan_.vmm && status.clean()) {
    outcome_ = fail(EPIPE, label, " ended before it was ready");
  } else if (outcome_ && other_image && !plan_.other_image_advice.empty()) {
    outcome_ = std::unexpected(Error{EINVAL, plan_.other_image_advice});
  } else if (!status.clean() && !ended_as_told(*daemon, status)) {
    fail_with(label, status);
  }
  // The others are of no use without it.
  if (!vmm_ && !going_down_) return stop_daemons();
  finish_if_nothing_left();
}

/// Until a daemon is ready it serves nobody and has nothing to write back: the signal may end it as it does
/// any program.
bool Supervision::ended_as_told(const DaemonProcess& daemon, const ExitStatus& status) const {
  return going_down_ && !daemon.ready() && status.signaled && status.value == SIGTERM;
}

/// With an exit status it has itself said why.
void Supervision::fail_with(const std::string& label, const ExitStatus& status) {
  if (outcome_)
    outcome_ = fail(EIO, status.signaled ? str_cat(label, " ended with ", status.describe()) : "");
}

/// Of the plan's daemons the root's comes first, where it is ours.
bool Supervision::serves_volume(std::size_t number) const {
  return number > 0 || plan_.disk_root || !plan_.socket.empty();
}

/// What the guest has asked of it and asks from now on is never answered: only it knows the guest's queues.
/// The rest of the VM does not depend on that.
void Supervision::volume_gone(const std::string& label, const ExitStatus& status) {
  if (!status.clean() && (guest_shut_down_ || stopping_)) {
    // What it had still to write may be lost.
    return fail_with(label, status);
  }
  const std::string text =
      str_cat(label, " ended with ", status.describe(),
              ": the VM goes on without, and who uses that in the guest waits until the VM is started anew");
  if (!status.clean()) {
    lost_volume_ = label;
    return log_error(text);
  }
  // As of any daemon that serves one VM, its end may be seen before QEMU's.
  const auto timer = std::make_shared<boost::asio::steady_timer>(io_, plan_.bounds.same_end);
  timer->async_wait([this, timer, text, label](error_code error) {
    if (error || !vmm_ || vmm_status_ || guest_shut_down_ || going_down_) return;
    lost_volume_ = label;
    log_error(text);
  });
}

/// A guest that boots anew would wait for its volume for ever.
bool Supervision::lost_with_volume() {
  if (lost_volume_.empty() || going_down_) return false;
  give_up(Error{EPIPE, str_cat("the guest restarts, and ", lost_volume_, " has ended: the VM was stopped")});
  return true;
}

void Supervision::daemon_gone_with_vmm(const std::string& text) {
  // A daemon that serves one VM ends when QEMU does, and may be seen to first.
  daemon_timer_.expires_after(plan_.bounds.same_end);
  daemon_timer_.async_wait([this, text](error_code error) {
    if (error || !vmm_ || vmm_status_) return;
    if (!guest_shut_down_) return give_up(Error{EPIPE, text});
    // The guest is off and QEMU clearing up, which takes its time on a loaded host.
    daemon_timer_.expires_after(plan_.bounds.clear_up);
    daemon_timer_.async_wait([this, text](error_code stopped) {
      if (!stopped && vmm_ && !vmm_status_) give_up(Error{EPIPE, text});
    });
  });
}

void Supervision::give_up(Error error) {
  if (outcome_) outcome_ = std::unexpected(std::move(error));
  quit_vmm();
}

}  // namespace layerboot::launcher
