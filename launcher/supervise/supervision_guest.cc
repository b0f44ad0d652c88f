// What the guest has inside: its agent, its workload, and who gets to see its console.
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <utility>

#include "guest-init/exit_codes.h"
#include "launcher/agent/guest_words.h"
#include "launcher/host/unix_socket.h"
#include "launcher/supervise/supervision.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;
using guest_init::GuestKind;

Result<void> Supervision::start_guest_link(UniqueFd port) {
  if (!plan_.guest) return {};
  LB_ASSIGN(link_,
            GuestLink::start(io_, std::move(port), *plan_.guest, plan_.console_input, plan_.console_output,
                             {.answered = [this](GuestKind kind) { guest_answered(kind); },
                              .hearing = [this](bool heard) { console_heard(heard); },
                              .said = [this](std::string_view text) { hub_->say(text); },
                              .main_ended = [this](const SessionEnd& end) { main_ended(end); },
                              .closed =
                                  [this] {
                                    link_open_ = false;
                                    finish_vmm_if_drained();
                                  }}));
  link_open_ = true;
  return {};
}

void Supervision::hold_console() {
  hub_->on_text([this](std::string_view text) {
    hear_lines(text);
    if (console_decided_) return;
    // What it said last is what tells why it ended.
    held_.append(text);
    if (held_.size() > kMaxHeldBytes) held_.erase(0, held_.size() - kMaxHeldBytes);
    if (hold_ends_) return;
    hold_ends_ = true;
    // A guest that speaks and has no agent is one to be looked at; but a command's output is not mixed with
    // that.
    if (plan_.guest->expected == GuestKind::kCommand) return;
    hold_timer_.expires_after(plan_.bounds.hold);
    hold_timer_.async_wait([this](error_code error) {
      if (!error) show_console();
    });
  });
}

void Supervision::show_console() {
  if (std::exchange(console_decided_, true) || plan_.console_output < 0 || !hub_open_) return;
  for (std::string_view rest = held_; !rest.empty();) {
    const ssize_t written = ::write(plan_.console_output, rest.data(), rest.size());
    if (written <= 0) break;
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  held_.clear();
  if (const auto joined = join_console(); !joined) give_up(joined.error());
}

Result<void> Supervision::join_console() {
  LB_ASSIGN(auto ends, socket_pair());
  LB_TRY(hub_->attach(std::move(ends.first), ConsoleHub::Role::kPrimary));
  console_ = std::make_unique<Console>(io_, std::move(ends.second), plan_.console_input, plan_.console_output,
                                       Console::Handlers{.escape = [this] { stop_requested(SIGINT); },
                                                         .shell = [this] { open_shell(); },
                                                         .interrupt = [this] { return ask_for_interrupt(); },
                                                         .closed =
                                                             [this] {
                                                               console_open_ = false;
                                                               finish_vmm_if_drained();
                                                             },
                                                         .input_ended = [this] { end_shell(); }});
  // One that asks for it may still turn out to run a command, whose input is then the same.
  const bool known = !plan_.guest || ((plan_.guest->expected || kind_) && !plan_.guest->shell_once);
  LB_TRY(known ? console_->start() : console_->start_without_given_input());
  console_open_ = true;
  if (console_->on_terminal()) {
    const std::string name = plan_.control_socket.parent_path().filename().string();
    take_own_window();
    log_info("console: Ctrl-] Ctrl-] s is a shell in the VM, without a password ('layerboot exec ", name,
             "' in another terminal is one too); Ctrl-] three times within a second stops the VM");
  }
  return {};
}

/// Ctrl-C was typed at the console. As long as nobody in the guest hears it, it is for the VM, as it would be
/// for any program; from when somebody does, it is the guest's. Whoever is asked about a login that it would
/// end is asked first.
bool Supervision::ask_for_interrupt() {
  if (!link_ || is_console_heard_) return false;
  if (!link_->has_answered()) {
    // One that takes its time may be none, as where the kernel has no port for it, and a shell be at the
    // console.
    const bool is_young = std::chrono::steady_clock::now() - console_began_ < plan_.bounds.hold;
    if (plan_.guest->has_agent && is_young) stop_requested(SIGINT);
    return false;
  }
  if (!link_->ask_who_hears()) return false;
  hearing_timer_.expires_after(plan_.bounds.hearing);
  hearing_timer_.async_wait([this](error_code error) {
    if (!error && console_) console_->release_typed();
  });
  return true;
}

void Supervision::console_heard(bool heard) {
  hearing_timer_.cancel();
  is_console_heard_ = heard;
  if (console_) console_->release_typed();
  if (heard) return;
  stop_requested(SIGINT);
  // What hears a power button comes late in a boot.
  if (!going_down_) link_->power_off();
}

/// Who reads a serial line sees no end of input but this one. Said again: a shell that changes its terminal's
/// mode meanwhile loses it.
void Supervision::end_shell() {
  if (!plan_.guest || !plan_.guest->shell_once || !console_ || going_down_) return;
  console_->type(std::exchange(shell_told_, true) ? "\x04" : "\n\x04");
  shell_timer_.expires_after(plan_.bounds.end_of_input);
  shell_timer_.async_wait([this](error_code error) {
    if (!error) end_shell();
  });
}

void Supervision::take_own_window() {
  window_ = window_of(plan_.console_input);
  tell_window();
}

/// A guest whose agent has not answered is told when it does.
void Supervision::tell_window() {
  if (link_ && window_) link_->set_console_window(*window_);
}

/// The hub's first peer, for which the guest waits, goes on reading meanwhile.
void Supervision::open_shell() {
  if (shell_ || !console_) return;
  if (!link_ || !link_->has_answered()) {
    log_info("no shell yet: the VM's agent has not answered");
    return;
  }
  shell_ = std::make_unique<ConsoleShell>(
      io_, *console_, plan_.console_input, plan_.console_output,
      // It is in the middle of telling us.
      [this] {
        boost::asio::post(io_, [gone = std::shared_ptr<ConsoleShell>(std::move(shell_))] {});
        take_own_window();
      });
  auto socket = link_->new_session();
  const auto opened = socket ? shell_->start(*std::move(socket)) : std::unexpected(socket.error());
  if (opened) return;
  shell_.reset();
  log_error("no shell in the VM: ", opened.error().describe());
}

void Supervision::guest_answered(GuestKind kind) {
  mark("guest answers");
  kind_ = kind;
  answered_at_ = std::chrono::steady_clock::now();
  is_console_heard_ = false;
  hold_timer_.cancel();
  tell_window();
  // What it was asked before, it has not heard. Not from here: its workload, if it has one, comes first.
  if (stopping_ && !going_down_) {
    boost::asio::post(io_, [this] {
      if (!going_down_ && link_) link_->power_off();
    });
  }
  if (kind == GuestKind::kCommand) {
    console_decided_ = true;
    return leave_console();
  }
  if (console_ && !plan_.guest->expected) console_->read_given_input();
  show_console();
}

/// Input and output are the command's.
void Supervision::leave_console() {
  if (!console_) return;
  log_info("the console was shown because the VM's agent took its time; from here on this is the command's");
  shell_.reset();
  console_.reset();
  console_open_ = false;
}

void Supervision::main_ended(const SessionEnd& end) {
  if (!end.failure.empty()) main_failures_.line(LogLevel::kError, end.failure);
  main_end_ = end;
}

bool Supervision::hand_on_signal(int number) {
  if (number == SIGWINCH && shell_) shell_->window_changed();
  if (number == SIGWINCH && link_) link_->window_changed();
  if (number == SIGWINCH && !shell_ && console_ && console_->on_terminal()) take_own_window();
  if (number == SIGWINCH) return true;
  // The first Ctrl-C is the command's, as it would be without a VM.
  if (number != SIGINT || stopping_ || !link_ || interrupted_) return false;
  interrupted_ = link_->signal_main(number);
  return interrupted_;
}

int Supervision::settle_outcome() {
  if (main_end_) return main_end_->exit_code;
  if (!outcome_ || !plan_.vmm) return 0;
  if (command_lost_) return kCommandLostStatus;
  const auto kind = kind_ || !plan_.guest ? kind_ : plan_.guest->expected;
  // Never 0, which would say that the command was run and did well.
  if (kind == GuestKind::kCommand && stopping_) return guest_init::kSignalExit + stop_signal_;
  const bool unknown = plan_.guest && !kind && !console_decided_ && !stopping_;
  if (kind == GuestKind::kCommand || unknown) {
    outcome_ = fail(EIO, "the VM ended before its command was run",
                    held_.empty() ? "" : str_cat("; its console's last words:\n", guest_lines(held_)));
  } else if (!boot_stopped_.empty()) {
    outcome_ = fail(EIO, "the VM's boot stopped: ", boot_stopped_);
  }
  return 0;
}

}  // namespace layerboot::launcher
