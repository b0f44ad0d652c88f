#include "vfsd/daemon/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <csignal>

#include "oci-mount/base/log.h"

namespace layerboot::vfsd {

namespace asio = boost::asio;
using Wait = asio::posix::stream_descriptor;

Server::Server(Listener& listener, vhost::Backend& backend, fuse::Session& session, bool once)
    : backend_(backend),
      session_(session),
      once_(once || listener.is_connected()),
      for_another_(listener.is_connected()),
      peers_(listener.peers()) {
  for (const int signal : {SIGTERM, SIGINT}) {
    boost::system::error_code error;
    signals_.add(signal, error);
    if (error) log_warn("signal ", signal, " can't be waited for: ", error.message());
  }
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    tell(str_cat("stopping on signal ", signal));
    io_.stop();
  });
  if (listener.is_connected()) {
    adopt_front_end(listener.take_socket());
  } else {
    listening_.assign(listener.take_socket().release());
    wait_for_front_end();
  }
}

void Server::run() {
  io_.run();
  if (channel_) {
    watched_.release();
    connection_fd_ = -1;
    channel_.reset();
  }
  backend_.disconnect();
  session_.forget_client();
}

void Server::stop() { io_.stop(); }

void Server::hang_up_at_once() const {
  if (const int fd = connection_fd_; fd >= 0) ::close(fd);
}

void Server::wait_for_front_end() {
  listening_.async_wait(Wait::wait_read, [this](boost::system::error_code error) {
    if (!error) accept_front_end();
  });
}

void Server::accept_front_end() {
  UniqueFd socket(::accept4(listening_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) {
    if (errno != ECONNABORTED && errno != EINTR && errno != EAGAIN)
      log_warn(Error{errno, {}}.describe(), ": a front end could not be accepted");
    return wait_for_front_end();
  }
  const auto allowed = peers_ ? peers_->check(socket.get()) : Result<void>();
  if (allowed) return adopt_front_end(std::move(socket));
  log_warn(allowed.error().describe(), " may not be the front end");
  wait_for_front_end();
}

void Server::adopt_front_end(UniqueFd socket) {
  auto channel = vhost::Channel::adopt(std::move(socket));
  if (!channel) return end_connection(channel.error());
  log_debug("a front end has connected");
  channel_.emplace(std::move(*channel));
  watched_.assign(channel_->fd());
  connection_fd_ = channel_->fd();
  wait_for_message();
}

void Server::wait_for_message() {
  watched_.async_wait(Wait::wait_read, [this](boost::system::error_code error) {
    if (error) return;
    if (auto handled = handle_messages(); !handled) return end_connection(handled.error());
    wait_for_message();
  });
}

Result<void> Server::handle_messages() {
  for (;;) {
    LB_ASSIGN(auto message, channel_->receive());
    if (!message) return {};
    const auto header = message->header;
    const auto reply = backend_.handle(std::move(*message));
    if (reply) LB_TRY(channel_->reply(header, *reply));
  }
}

void Server::tell(const std::string& what) const {
  if (for_another_) {
    log_debug(what);
  } else {
    log_info(what);
  }
}

void Server::end_connection(const Error& why) {
  if (why.code == ENOTCONN) {
    tell(why.describe());
  } else {
    log_warn("connection ended: ", why.describe());
  }
  if (channel_) {
    watched_.release();
    connection_fd_ = -1;
    channel_.reset();
  }
  backend_.disconnect();
  session_.forget_client();
  if (once_) {
    io_.stop();
  } else {
    wait_for_front_end();
  }
}

}  // namespace layerboot::vfsd
