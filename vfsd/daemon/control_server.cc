#include "vfsd/daemon/control_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <string>
#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot::vfsd {

namespace asio = boost::asio;
using Stream = asio::posix::stream_descriptor;

/// One connection: reads a line, writes its answer, and so on. Owned by whatever operation is under way.
class ControlServer::Client : public std::enable_shared_from_this<Client> {
 public:
  Client(ControlServer& server, UniqueFd socket) : server_(server), stream_(server.io_, socket.release()) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() {
    if (!server_alive_.expired()) server_.client_has_gone();
  }

  void read() {
    stream_.async_read_some(asio::buffer(piece_),
                            [self = shared_from_this()](const auto& error, std::size_t got) {
                              if (error) return;
                              self->received_.append(self->piece_.data(), got);
                              self->answer_next();
                            });
  }

 private:
  void answer_next() {
    const auto end = received_.find('\n');
    const bool too_long =
        end == std::string::npos ? received_.size() > kMaxControlLineBytes : end > kMaxControlLineBytes;
    if (too_long) return;  // no client of ours: hang up
    if (end == std::string::npos) return read();
    reply_ = answer_control(std::string_view(received_).substr(0, end), server_.target_);
    received_.erase(0, end + 1);
    asio::async_write(stream_, asio::buffer(reply_),
                      [self = shared_from_this()](const auto& error, std::size_t) {
                        if (!error) self->answer_next();
                      });
  }

  ControlServer& server_;
  std::weak_ptr<const bool> server_alive_ = server_.alive_;
  Stream stream_;
  std::array<char, kMaxControlLineBytes> piece_{};
  std::string received_;
  std::string reply_;
};

ControlServer::ControlServer(asio::io_context& io, Listener& listener, ControlTarget target)
    : io_(io),
      target_(std::move(target)),
      peers_(listener.peers()),
      listening_(io, listener.take_socket().release()) {
  wait_for_client();
}

void ControlServer::wait_for_client() {
  if (waiting_ || clients_ >= kMaxClients) return;
  waiting_ = true;
  listening_.async_wait(Stream::wait_read, [this](boost::system::error_code error) {
    waiting_ = false;
    if (error) return;
    accept_client();
    wait_for_client();
  });
}

void ControlServer::accept_client() {
  UniqueFd socket(::accept4(listening_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  if (const auto allowed = peers_ ? peers_->check(socket.get()) : Result<void>(); !allowed) {
    log_warn(allowed.error().describe(), " may not use the control socket");
    return;
  }
  ++clients_;
  std::make_shared<Client>(*this, std::move(socket))->read();
}

void ControlServer::client_has_gone() {
  --clients_;
  wait_for_client();
}

}  // namespace layerboot::vfsd
