#include <algorithm>
#include <array>
#include <utility>

#include "launcher/host/pidfd.h"
#include "launcher/host/unix_socket.h"
#include "launcher/supervise/supervision.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

Result<void> Supervision::open_control() {
  if (plan_.control_socket.empty()) return {};
  LB_ASSIGN(control_,
            ControlServer::listen(
                io_, plan_.control_socket, [this](const ControlRequest& request) { return answer(request); },
                [this](UniqueFd socket, ControlVerb verb) { take_over(std::move(socket), verb); }));
  return {};
}

Result<void> Supervision::start_daemons() {
  for (const ChildSpec& spec : plan_.daemons) {
    LB_ASSIGN(auto daemon,
              DaemonProcess::start(io_, spec, plan_.vmm.has_value(), plan_.bounds.quit,
                                   {.ready = [this] { daemon_ready(); },
                                    .failed =
                                        [this](const Error& why) {
                                          if (!going_down_) give_up(why);
                                        },
                                    .ended = [this, number = daemons_.size()] { daemon_ended(number); }}));
    daemons_.push_back(std::move(daemon));
  }
  mark("daemons started");
  return {};
}

void Supervision::daemon_ready() {
  for (const auto& daemon : daemons_) {
    if (!daemon || !daemon->ready()) return;
  }
  if (!going_down_) all_ready();
}

void Supervision::all_ready() {
  mark_indexes_open();
  mark("daemons ready");
  if (plan_.on_ready) {
    if (auto wanted = plan_.on_ready(); !wanted) return give_up(wanted.error());
  }
  if (!plan_.vmm) {
    log_info("serving at ", plan_.socket.string(), ", Ctrl-C ends it");
    return;
  }
  if (auto started = start_vmm(); !started) give_up(started.error());
}

void Supervision::mark_indexes_open() {
  std::optional<std::chrono::steady_clock::time_point> last;
  for (const auto& daemon : daemons_) last = std::max(last, daemon->indexes_open());
  if (last && plan_.timeline != nullptr) plan_.timeline->mark("indexes open", *last);
}

Result<void> Supervision::start_vmm() {
  std::vector<UniqueFd> sockets;
  if (plan_.disk_root) {
    // Keeps the number, so that the others have theirs.
    LB_ASSIGN(UniqueFd nothing, open_path("/dev/null", O_RDWR));
    sockets.push_back(std::move(nothing));
  } else if (!plan_.socket.empty()) {
    LB_ASSIGN(DaemonConnection connection, connect_daemon(plan_.socket));
    watch_foreign_daemon(connection.daemon);
    sockets.push_back(std::move(connection.socket));
  }
  for (const auto& daemon : daemons_) sockets.push_back(daemon->take_socket());
  LB_ASSIGN(auto console_ends, socket_pair());
  LB_ASSIGN(auto qmp_ends, socket_pair());
  LB_ASSIGN(auto agent_ends, socket_pair());
  // In the order of qemu_args.h.
  std::vector<int> inherited = {sockets.front().get(), console_ends.second.get(), qmp_ends.second.get(),
                                agent_ends.second.get()};
  for (std::size_t i = 1; i < sockets.size(); ++i) inherited.push_back(sockets[i].get());
  LB_TRY(start_network(inherited));
  LB_ASSIGN(vmm_, start_child(*plan_.vmm, inherited));
  network_socket_.reset();
  vmm_->watch = std::make_unique<ExitWatch>(io_, vmm_->process.pidfd(), [this] { vmm_ended(); });
  mark("QEMU started");
  start_qmp(std::move(qmp_ends.first));
  LB_TRY(start_console(std::move(console_ends.first)));
  return start_guest_link(std::move(agent_ends.first));
}

Result<WatchedChild> Supervision::start_child(const ChildSpec& spec, const std::vector<int>& inherited) {
  LB_ASSIGN(auto words, ChildWords::open(io_, spec));
  LB_ASSIGN(Child child, Child::spawn(words->with_output(spec), inherited));
  words->started();
  return WatchedChild{.words = std::move(words), .process = std::move(child)};
}

Result<void> Supervision::start_network(std::vector<int>& inherited) {
  if (!plan_.network) return {};
  LB_ASSIGN(auto ends, socket_pair());
  LB_ASSIGN(network_, start_child(*plan_.network, {ends.second.get()}));
  network_socket_ = std::move(ends.first);
  inherited.push_back(network_socket_.get());
  return {};
}

void Supervision::start_qmp(UniqueFd socket) {
  qmp_ = std::make_unique<QmpClient>(io_, std::move(socket));
  qmp_open_ = true;
  qmp_->on_event([this](const QmpEvent& event) { handle_event(event); });
  qmp_->on_greeted([this] { greeted(); });
  qmp_->on_closed([this](const Error& why) {
    if (!why.text.empty()) log_warn(why.describe());
    qmp_open_ = false;
    finish_vmm_if_drained();
  });
  qmp_->start();
}

Result<void> Supervision::start_console(UniqueFd socket) {
  if (!plan_.console_log.empty()) {
    LB_ASSIGN(console_log_, ConsoleLog::create(plan_.console_log));
  }
  hub_ = std::make_unique<ConsoleHub>(io_, std::move(socket), console_log_ ? &*console_log_ : nullptr);
  hub_->on_closed([this] {
    hub_open_ = false;
    finish_vmm_if_drained();
  });
  hub_->on_text([this](std::string_view text) { hear_lines(text); });
  hub_open_ = true;
  console_began_ = std::chrono::steady_clock::now();
  // A command's streams are not mixed with what the kernel or an init have to say.
  const bool at_once = !plan_.guest || plan_.guest->expected == guest_init::GuestKind::kInit;
  console_decided_ = at_once;
  if (at_once && plan_.console_output >= 0) LB_TRY(join_console());
  if (!at_once) hold_console();
  hub_->start();
  return {};
}

void Supervision::watch_foreign_daemon(pid_t pid) {
  Result<UniqueFd> pidfd = fail(ESRCH, "it is in another PID namespace");
  if (pid > 0) pidfd = open_pidfd(pid);
  if (!pidfd) {
    log_debug("the daemon can't be watched: ", pidfd.error().describe());
    return;
  }
  foreign_daemon_ = std::make_unique<ExitWatch>(io_, pidfd->get(), [this] {
    daemon_gone_with_vmm(str_cat("the daemon at ", plan_.socket.string(), " has ended: the VM was stopped"));
  });
}

}  // namespace layerboot::launcher
