// DockerPorts: what the containers of the guest's Docker engine publish, at the same ports of this host.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "launcher/agent/agent_broker.h"
#include "launcher/agent/socket_forward.h"
#include "oci-mount/base/log_limit.h"

namespace layerboot::launcher {

/// Asks the engine at each of its events, and once more a moment later, as its list may be behind them; where
/// there is no engine yet, or no more, again after a while. The guest is not trusted: it gets ports of
/// 127.0.0.1 alone, that nobody has, and no more than kMaxPorts. On one io_context's thread; no callback runs
/// after destruction, which closes the ports.
class DockerPorts {
 public:
  static constexpr std::size_t kMaxPorts = 64;

  /// `broker` is lent; `socket` is the engine's, in the guest.
  DockerPorts(boost::asio::io_context& io, AgentBroker& broker, std::string socket);
  ~DockerPorts();
  DockerPorts(const DockerPorts&) = delete;
  DockerPorts& operator=(const DockerPorts&) = delete;

  /// The guest is up as far as its agent.
  void guest_answered() { watch(); }
  /// It has begun anew: none of its containers runs.
  void guest_reset();

 private:
  class Exchange;

  void watch();
  void watch_later();
  void ask();
  void ask_when_settled();
  void asked();
  /// Whether other ports are published than before.
  bool serve(const std::set<std::uint16_t>& ports);

  boost::asio::io_context& io_;
  AgentBroker& broker_;
  std::string socket_;
  boost::asio::steady_timer pause_;
  boost::asio::steady_timer settling_;
  std::shared_ptr<Exchange> events_;
  std::shared_ptr<Exchange> list_;
  std::string answer_;
  bool ask_again_ = false;  // something happened while the engine was being asked
  /// Null for a port that could not be had: that is told once as long as somebody publishes it, and tried
  /// again with each answer.
  std::map<std::uint16_t, std::unique_ptr<SocketForward>> forwards_;
  // The guest calls these lines forth; of ports as many as there are come together.
  LogLimit complaints_;
  LogLimit gone_;
  LogLimit here_{kMaxPorts};
  LogLimit not_here_{kMaxPorts};
  std::shared_ptr<DockerPorts*> self_;  // gone with us: a pause that is over may not have been told yet
};

}  // namespace layerboot::launcher
