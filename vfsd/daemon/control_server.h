// ControlServer: clients of the control socket, on the control plane's thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <optional>

#include "vfsd/daemon/control.h"
#include "vfsd/daemon/listener.h"

namespace layerboot::vfsd {

/// Answers who the listener's rule lets; whoever else connects is hung up on. A client may ask
/// as often as it likes.
class ControlServer {
 public:
  /// At the bound, further ones wait in the socket's backlog until one goes.
  static constexpr unsigned kMaxClients = 16;

  /// `io` and what `target` refers to outlive it, and `io` is not run afterwards.
  ControlServer(boost::asio::io_context& io, Listener& listener, ControlTarget target);

 private:
  class Client;

  void wait_for_client();
  void accept_client();
  void client_has_gone();

  boost::asio::io_context& io_;
  const ControlTarget target_;
  const std::optional<PeerRule> peers_;
  unsigned clients_ = 0;
  bool waiting_ = false;
  // Clients go with `io`, which may be after this object.
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  boost::asio::posix::stream_descriptor listening_;
};

}  // namespace layerboot::vfsd
