// SocketForward: a Unix socket of the guest, or a TCP port of it, as a Unix socket or a port of the host.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "launcher/agent/agent_broker.h"
#include "launcher/agent/session_client.h"
#include "launcher/agent/session_shares.h"
#include "oci-mount/base/log_limit.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/socket_file.h"

namespace layerboot::launcher {

/// Each connection to the host's socket becomes a session of the guest's agent, which connects to the
/// guest's. Those for which there is no room (session_shares.h) wait in the kernel until others end. On one
/// io_context's thread; no callback runs after destruction, which removes the host's socket.
class SocketForward {
 public:
  /// Listens at `host`, for this user alone. A socket that nobody listens at any more is replaced; EEXIST for
  /// anything else that has the name. `guest`: "/path" or a port number. `broker` is lent.
  static Result<std::unique_ptr<SocketForward>> listen(boost::asio::io_context& io, AgentBroker& broker,
                                                       const std::filesystem::path& host, std::string guest);
  /// The same at a TCP port of 127.0.0.1. The errno is bind(2)'s.
  static Result<std::unique_ptr<SocketForward>> listen_at_port(boost::asio::io_context& io,
                                                               AgentBroker& broker, std::uint16_t port,
                                                               std::string guest);
  ~SocketForward();
  SocketForward(const SocketForward&) = delete;
  SocketForward& operator=(const SocketForward&) = delete;

 private:
  struct Connection {
    UniqueFd socket;
    std::unique_ptr<SessionClient> session;
  };

  SocketForward(boost::asio::io_context& io, AgentBroker& broker, std::string name, std::string guest);
  Result<void> begin(UniqueFd listener);
  void accept();
  void take_connection();
  void tell_crowded();
  Result<void> connect(UniqueFd socket);
  void ended(std::uint64_t number, const SessionEnd& end);

  boost::asio::io_context& io_;
  AgentBroker& broker_;
  std::string name_;                // for messages
  std::optional<SocketFile> file_;  // of the host's Unix socket; none: it is a port
  std::string guest_;
  boost::asio::posix::stream_descriptor listener_;
  std::map<std::uint64_t, Connection> connections_;
  std::uint64_t last_number_ = 0;
  bool accepting_ = false;
  bool is_crowded_ = false;  // told: somebody waits, and has not been taken yet
  LogLimit crowds_;
  LogLimit failures_;  // of connections: the guest's doing, or that of whoever connects
  std::shared_ptr<SessionShares> shares_;
  SessionShares::Id share_ = 0;
  std::shared_ptr<SocketForward*> self_;
};

}  // namespace layerboot::launcher
