// Server: the control plane. Front ends come and go on the socket; signals end it.
//
// On Boost.Asio, on one thread, and apart from the queues: nothing here is on the way of a request.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <optional>
#include <string>

#include "oci-mount/base/result.h"
#include "vfsd/daemon/listener.h"
#include "vfsd/fuse/session.h"
#include "vfsd/vhost/backend.h"
#include "vfsd/vhost/channel.h"

namespace layerboot::vfsd {

class Server {
 public:
  /// All of these must outlive the server. With `once`, the first front end is the last.
  Server(Listener& listener, vhost::Backend& backend, fuse::Session& session, bool once);

  /// Serves one front end after the other until SIGTERM, SIGINT, stop(), or the end of the only one. All
  /// queues are stopped when it returns.
  void run();
  /// Thread-safe.
  void stop();
  /// Closes the connection under whoever works on it, for a process that is about to end. Thread-safe.
  void hang_up_at_once() const;
  /// For what else the control plane does. Belongs to the thread of run(); so does what follows.
  [[nodiscard]] boost::asio::io_context& io() { return io_; }
  [[nodiscard]] bool has_front_end() const { return channel_.has_value(); }

 private:
  void wait_for_front_end();
  void accept_front_end();
  void adopt_front_end(UniqueFd socket);
  void wait_for_message();
  Result<void> handle_messages();
  void end_connection(const Error& why);
  void tell(const std::string& what) const;

  vhost::Backend& backend_;
  fuse::Session& session_;
  const bool once_;
  const bool for_another_;  // the connection was handed down: by who has a person of its own to talk to
  const std::optional<PeerRule> peers_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::posix::stream_descriptor listening_{io_};
  boost::asio::posix::stream_descriptor watched_{io_};  // the channel's descriptor, which the channel owns
  std::optional<vhost::Channel> channel_;
  std::atomic<int> connection_fd_ = -1;  // the channel's
};

}  // namespace layerboot::vfsd
