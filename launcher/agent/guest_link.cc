#include "launcher/agent/guest_link.h"

#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include "guest-init/exit_codes.h"
#include "launcher/agent/docker_answer.h"
#include "launcher/host/unix_socket.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;
using guest_init::GuestKind;

GuestLink::GuestLink(boost::asio::io_context& io, const GuestPlan& plan, int input, int output,
                     Handlers handlers)
    : io_(io),
      plan_(plan),
      input_(input),
      output_(output),
      handlers_(std::move(handlers)),
      said_(io),
      self_(std::make_shared<GuestLink*>(this)) {}

GuestLink::~GuestLink() = default;

Result<std::unique_ptr<GuestLink>> GuestLink::start(boost::asio::io_context& io, UniqueFd port,
                                                    const GuestPlan& plan, int input, int output,
                                                    Handlers handlers) {
  std::unique_ptr<GuestLink> link(new GuestLink(io, plan, input, output, std::move(handlers)));
  GuestLink* self = link.get();
  link->broker_ = std::make_unique<AgentBroker>(
      io, std::move(port),
      AgentBroker::Handlers{.greeted = [self](GuestKind kind) { self->answered(kind); },
                            .hearing = [self](bool heard) { self->handlers_.hearing(heard); },
                            .closed = [self] { self->port_closed(); }});
  LB_TRY(link->broker_->listen(plan.agent_socket));
  for (const SharedSocket& socket : plan.sockets) {
    LB_ASSIGN(auto forward, SocketForward::listen(io, *link->broker_, socket.host, socket.guest));
    link->forwards_.push_back(std::move(forward));
  }
  if (plan.docker) link->docker_ = std::make_unique<DockerPorts>(io, *link->broker_, kDockerSocket);
  LB_TRY(link->broker_->start());
  return link;
}

void GuestLink::guest_reset() {
  // Its workload is run anew with it.
  main_.reset();
  kind_.reset();
  if (docker_) docker_->guest_reset();
  broker_->guest_reset();
}

bool GuestLink::signal_main(int number) {
  if (!main_) return false;
  main_->send_signal(number);
  return true;
}

void GuestLink::window_changed() {
  if (main_) main_->send_window();
}

Result<UniqueFd> GuestLink::new_session() {
  LB_ASSIGN(auto ends, socket_pair());
  LB_TRY(broker_->adopt(std::move(ends.first)));
  return std::move(ends.second);
}

bool GuestLink::power_off() { return broker_->power_off(); }

void GuestLink::answered(GuestKind kind) {
  kind_ = kind;
  handlers_.answered(kind);
  if (docker_) docker_->guest_answered();
  if (kind != GuestKind::kCommand) return;
  if (const auto started = start_main(); !started) {
    handlers_.main_ended({.exit_code = guest_init::kNotStarted, .failure = started.error().describe()});
    broker_->power_off();
  }
}

Result<void> GuestLink::start_main() {
  auto request = plan_.main;
  const bool terminal = input_ >= 0 && output_ >= 0 && ::isatty(input_) != 0 && ::isatty(output_) != 0;
  if (terminal) LB_TRY(ask_for_terminal(request));
  LB_ASSIGN(const SessionStdio stdio, main_stdio());
  LB_ASSIGN(UniqueFd socket, new_session());
  main_ = std::make_unique<SessionClient>(io_, std::move(socket), stdio, [this](const SessionEnd& end) {
    // The session is in the middle of telling us.
    boost::asio::post(io_, [gone = std::shared_ptr<SessionClient>(std::move(main_))] {});
    said_write_end_.reset();
    handlers_.main_ended(end);
    close_if_done();
  });
  return main_->start(request);
}

Result<SessionStdio> GuestLink::main_stdio() {
  if (output_ >= 0) return SessionStdio{.input = input_, .output = output_, .error = STDERR_FILENO};
  LB_ASSIGN(auto ends, socket_pair());
  error_code error;
  error_code ignored;
  said_.close(ignored);
  said_.assign(ends.first.get(), error);
  if (error) return fail(error.value(), "cannot watch what the workload says");
  [[maybe_unused]] const int given = ends.first.release();
  said_write_end_ = std::move(ends.second);
  read_said();
  return SessionStdio{.input = -1, .output = said_write_end_.get(), .error = said_write_end_.get()};
}

void GuestLink::read_said() {
  said_.async_read_some(boost::asio::buffer(said_buffer_),
                        [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                          const auto alive = weak.lock();
                          // Closed with this object, or for another session.
                          if (!alive || error == boost::asio::error::operation_aborted) return;
                          GuestLink& self = **alive;
                          if (!error) {
                            self.handlers_.said({self.said_buffer_.data(), size_bytes});
                            return self.read_said();
                          }
                          error_code ignored;
                          self.said_.close(ignored);
                          self.close_if_done();
                        });
}

void GuestLink::port_closed() {
  port_closed_ = true;
  close_if_done();
}

void GuestLink::close_if_done() {
  if (!port_closed_ || main_ || said_.is_open()) return;
  if (const auto closed = std::exchange(handlers_.closed, nullptr)) boost::asio::post(io_, closed);
}

}  // namespace layerboot::launcher
