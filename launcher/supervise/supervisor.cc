#include "launcher/supervise/supervisor.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/qemu/qemu_args.h"
#include "launcher/supervise/guest_step.h"
#include "launcher/supervise/supervision.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;
using nlohmann::json;
using std::chrono::steady_clock;

constexpr std::size_t kMaxHeardLineBytes = 512;

}  // namespace

Result<int> Supervision::run() {
  power_down_bound_ = plan_.bounds.power_down;
  watch_signals();
  LB_TRY(open_control());
  if (!plan_.launcher_log.empty()) {
    LB_ASSIGN(log_bound_, LogBound::watch(io_, plan_.launcher_log));
  }
  if (plan_.daemons.empty()) {
    all_ready();
  } else if (auto started = start_daemons(); !started) {
    give_up(started.error());
  }
  if (!finished_) io_.run();
  const int exit_code = settle_outcome();
  LB_TRY(outcome_);
  return exit_code;
}

void Supervision::watch_signals() {
  error_code error;
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH}) {
    signals_.add(number, error);
    if (error) log_warn("cannot watch signal ", number, ": ", error.message());
  }
  signals_.async_wait([this](error_code failed, int number) {
    if (failed) return;
    log_debug("signal ", number);
    // Armed again first: the second signal must count.
    watch_signals();
    if (!hand_on_signal(number)) stop_requested(number);
  });
}

void Supervision::mark(std::string_view name) {
  if (plan_.timeline != nullptr) plan_.timeline->mark(name);
}

void Supervision::greeted() {
  greeted_ = true;
  mark("QEMU runs");
  if (!plan_.on_started) return;
  if (auto wanted = plan_.on_started(); !wanted) give_up(wanted.error());
}

void Supervision::handle_event(const QmpEvent& event) {
  log_debug("QEMU: ", event.name);
  if (event.name == "SHUTDOWN" && event.guest) guest_is_off();
  if (event.name == "SHUTDOWN" && !event.guest) host_shut_down_ = true;
  if (event.name != "RESET" || !event.guest) return;
  if (command_lost() || lost_with_volume()) return;
  boot_stopped_.clear();
  answered_at_.reset();
  if (link_) link_->guest_reset();
  const auto now = steady_clock::now();
  if (now - last_reset_ < kOneReset) return;
  if (plan_.on_reboot) plan_.on_reboot();
  quick_resets_ = now - last_reset_ <= kQuickReset ? quick_resets_ + 1 : 1;
  last_reset_ = now;
  if (quick_resets_ < kMaxQuickResets) return;
  give_up(Error{EIO, str_cat("the guest reset itself ", kMaxQuickResets,
                             " times in a row without booting: see its console")});
}

bool Supervision::command_lost() {
  const bool command = (link_ && link_->runs_command()) ||
                       (plan_.guest && plan_.guest->expected == guest_init::GuestKind::kCommand);
  if (!command || going_down_) return command;
  // A command may have done half its work: whether to run it again is for whoever asked for it to say.
  log_error(main_end_ ? "the guest reset itself instead of powering off"
                      : "the guest reset itself before its command ended: it is not run again");
  command_lost_ = true;
  guest_shut_down_ = true;
  quit_vmm();
  return true;
}

json Supervision::status() const {
  json daemons = json::array();
  for (const auto& daemon : daemons_) {
    if (daemon) daemons.push_back({{"name", daemon->label()}, {"pid", daemon->pid()}});
  }
  json timing = json::array();
  if (plan_.timeline != nullptr) {
    for (const auto& [name, at] : plan_.timeline->marks()) {
      timing.push_back({{"step", name}, {"microseconds", at.count()}});
    }
  }
  const char* state = "starting";
  if (greeted_) state = pause_ ? "paused" : "running";
  if (!plan_.vmm) state = "serving";
  if (stopping_ || going_down_) state = "stopping";
  return {{"state", state},
          {"pid", ::getpid()},
          {"qemu_pid", vmm_ && !vmm_status_ ? json(vmm_->process.pid()) : json()},
          {"daemons", std::move(daemons)},
          {"timing", std::move(timing)}};
}

Result<json> Supervision::answer(const ControlRequest& request) {
  switch (request.verb) {
    case ControlVerb::kStatus:
      return status();
    case ControlVerb::kStop:
    case ControlVerb::kKill:
      // Not from here: what it leads to may end this connection before the answer is sent.
      boost::asio::post(io_, [this, request] { stop_by_request(request); });
      return json::object();
    case ControlVerb::kWindow:
      window_ = request.window;
      tell_window();
      return json::object();
    case ControlVerb::kResize:
      return resize_disk(request.size_bytes);
    case ControlVerb::kWait:
      if (waiters_.size() >= kMaxWaiters) return fail(EBUSY, "too many wait for its end already");
      return json::object();
    case ControlVerb::kPause:
      if (!qmp_ || !greeted_ || stopping_ || going_down_) return fail(EAGAIN, "its QEMU takes no orders now");
      if (pause_) return fail(EBUSY, "it is paused already: another commit reads it");
      return json::object();
    case ControlVerb::kConsole:
    case ControlVerb::kLogs:
      if (!hub_ || !hub_open_) return fail(EAGAIN, "its console is not there yet");
      return json{{"log_bytes", console_log_ ? console_log_->size_bytes() : 0}};
  }
  return fail(EINVAL, "unknown request");
}

/// The guest's agent, which is told next, waits for the disk; what QEMU has against it is said here.
Result<json> Supervision::resize_disk(std::uint64_t size_bytes) {
  if (!qmp_ || !greeted_ || going_down_) return fail(EAGAIN, "its QEMU takes no orders now");
  const json arguments = {{"device", kUpperDrive}, {"size", size_bytes}};
  qmp_->execute("block_resize", arguments.dump(), [](Result<void> done) {
    if (!done) log_error("cannot make the VM's disk larger: ", done.error().describe());
  });
  return json::object();
}

void Supervision::take_over(UniqueFd socket, ControlVerb verb) {
  if (verb == ControlVerb::kWait) {
    waiters_.push_back(std::move(socket));
    return;
  }
  if (verb == ControlVerb::kPause) return pause(std::move(socket));
  const auto role = verb == ControlVerb::kConsole ? ConsoleHub::Role::kTyping : ConsoleHub::Role::kReading;
  if (!hub_) return;
  if (const auto attached = hub_->attach(std::move(socket), role); !attached) {
    log_debug("console: ", attached.error().describe());
  }
}

void Supervision::pause(UniqueFd socket) {
  pause_ = std::make_unique<PauseLease>(
      io_, std::move(socket),
      [this](std::string_view command, QmpClient::Done done) { qmp_->execute(command, std::move(done)); },
      // The lease is in the middle of telling us.
      [this] { boost::asio::post(io_, [gone = std::shared_ptr<PauseLease>(std::move(pause_))] {}); });
}

void Supervision::hear_lines(std::string_view text) {
  for (const char c : text) {
    if (c != '\n' && c != '\r') {
      if (heard_line_.size() < kMaxHeardLineBytes) heard_line_ += c;
      continue;
    }
    hear_line(heard_line_);
    heard_line_.clear();
  }
}

void Supervision::hear_line(std::string_view line) {
  const auto now = steady_clock::now();
  // Later it is somebody else's to say.
  const bool booting = !answered_at_ || now - *answered_at_ < kStillBooting;
  if (auto why = parse_boot_stop(line); booting && !why.empty()) boot_stopped_ = std::move(why);
  // What comes earlier is lost to a serial line that is not open yet.
  if (console_ && plan_.guest && plan_.guest->shell_once && says_shell_begins(line))
    console_->read_given_input();
  if (plan_.timeline == nullptr) return;
  if (const auto step = parse_guest_step(line)) plan_.timeline->mark(step->name, now - step->ago);
}

void Supervision::stop_by_request(const ControlRequest& request) {
  if (request.verb == ControlVerb::kKill) return stop_requested(SIGQUIT);
  if (request.timeout_seconds) power_down_bound_ = std::chrono::seconds(*request.timeout_seconds);
  // Asked again, it is the bound that is new.
  if (!stopping_) return stop_requested(SIGTERM);
  if (!going_down_ && vmm_ && !vmm_status_ && !guest_shut_down_) bound_power_down();
}

void Supervision::tell_waiters(const Result<int>& outcome) const {
  const json ended = {{"exit_status", outcome ? *outcome : 1},
                      {"error", outcome ? "" : outcome.error().describe()}};
  const std::string line = ended.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  for (const UniqueFd& waiter : waiters_) {
    // The first thing in an empty buffer; one that is gone is not waited for.
    [[maybe_unused]] const auto sent =
        ::send(waiter.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

Result<int> supervise(const SupervisorPlan& plan) {
  Supervision supervision(plan);
  auto outcome = supervision.run();
  if (plan.on_ended) plan.on_ended(outcome);
  if (plan.stop_asked != nullptr) *plan.stop_asked = supervision.was_stopped();
  supervision.tell_waiters(outcome);
  return outcome;
}

}  // namespace layerboot::launcher
