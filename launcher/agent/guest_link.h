// GuestLink: the supervisor's side of the guest's agent.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "guest-init/workload.h"
#include "launcher/agent/agent_broker.h"
#include "launcher/agent/docker_ports.h"
#include "launcher/agent/session_client.h"
#include "launcher/agent/socket_forward.h"
#include "launcher/vm/run_settings.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

struct GuestPlan {
  std::filesystem::path agent_socket;             // for exec and ssh
  guest_init::SessionRequest main;                // what to run, in a guest whose first process is ours
  std::optional<guest_init::GuestKind> expected;  // as expected_guest() has it
  bool shell_once = false;  // the console's input is a shell's, from when it is there to its end
  std::vector<SharedSocket> sockets;
  bool has_agent = true;  // false: nobody ever answers, as the kernel starts the image's init by itself
  bool docker = false;    // what the containers of the guest's Docker publish is published here
};

/// Shares the guest's agent with other processes, runs the VM's own workload in a guest that has no init, and
/// keeps the shared sockets. On one io_context's thread; no callback runs after destruction.
class GuestLink {
 public:
  struct Handlers {
    /// The guest is up as far as its agent: once for each of its boots.
    std::function<void(guest_init::GuestKind)> answered;
    /// The answer to ask_who_hears(): whether somebody does.
    std::function<void(bool heard)> hearing;
    /// What the workload says, when it has no stream of ours to say it on.
    std::function<void(std::string_view)> said;
    std::function<void(const SessionEnd&)> main_ended;
    /// QEMU is gone, and all that the agent said has been dealt with.
    std::function<void()> closed;
  };

  /// `port` is our end of the agent's port; `plan` is lent. `input` and `output` are the streams of the one
  /// who runs the VM; without them (below 0) the workload's go to said().
  static Result<std::unique_ptr<GuestLink>> start(boost::asio::io_context& io, UniqueFd port,
                                                  const GuestPlan& plan, int input, int output,
                                                  Handlers handlers);
  GuestLink(const GuestLink&) = delete;
  GuestLink& operator=(const GuestLink&) = delete;
  ~GuestLink();

  void guest_reset();
  /// Hands a signal on to the workload. False when none runs.
  bool signal_main(int number);
  void window_changed();
  /// Of the console's terminal, on which no workload of ours runs. Nothing before the agent has answered.
  void set_console_window(WindowSize size) { broker_->set_console_window(size); }
  /// Asks whether anybody in the guest hears what is typed at the console: a login, a shell, a question of
  /// the boot's. False before the agent has answered.
  bool ask_who_hears() { return broker_->ask_who_hears(); }
  /// Whether the guest is known to run a workload, and no init of its own.
  [[nodiscard]] bool runs_command() const { return kind_ == guest_init::GuestKind::kCommand; }
  [[nodiscard]] bool has_answered() const { return kind_.has_value(); }
  /// A further session's socket, for a SessionClient.
  Result<UniqueFd> new_session();
  /// Asks the guest's agent to end the guest in order. False before it has answered.
  bool power_off();

 private:
  GuestLink(boost::asio::io_context& io, const GuestPlan& plan, int input, int output, Handlers handlers);
  void answered(guest_init::GuestKind kind);
  Result<void> start_main();
  Result<SessionStdio> main_stdio();
  void read_said();
  void port_closed();
  void close_if_done();

  boost::asio::io_context& io_;
  const GuestPlan& plan_;
  int input_;
  int output_;
  Handlers handlers_;
  std::unique_ptr<AgentBroker> broker_;
  std::vector<std::unique_ptr<SocketForward>> forwards_;
  std::unique_ptr<DockerPorts> docker_;
  std::unique_ptr<SessionClient> main_;
  std::optional<guest_init::GuestKind> kind_;
  UniqueFd said_write_end_;
  boost::asio::posix::stream_descriptor said_;
  std::array<char, 4096> said_buffer_{};
  std::shared_ptr<GuestLink*> self_;  // gone with us: what is read may not have been told yet
  bool port_closed_ = false;
};

}  // namespace layerboot::launcher
