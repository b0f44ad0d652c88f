#include "launcher/supervise/control_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <utility>

#include "launcher/host/unix_socket.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;
using nlohmann::json;
using StreamDescriptor = boost::asio::posix::stream_descriptor;

bool may_ask(int socket) {
  const auto peer = credentials_of(socket);
  return peer && is_us_or_root(*peer);
}

}  // namespace

struct ControlServer::Peer {
  Peer(boost::asio::io_context& io, UniqueFd socket) : stream(io) {
    error_code error;
    stream.assign(socket.get(), error);
    if (!error) [[maybe_unused]]
      const int given = socket.release();
  }
  StreamDescriptor stream;
  std::string input;
  std::array<char, 1024> chunk{};
};

ControlServer::ControlServer(boost::asio::io_context& io, std::filesystem::path path, Answer answer,
                             TakeOver take_over)
    : io_(io),
      path_(std::move(path)),
      answer_(std::move(answer)),
      take_over_(std::move(take_over)),
      listener_(io) {}

Result<std::unique_ptr<ControlServer>> ControlServer::listen(boost::asio::io_context& io,
                                                             const std::filesystem::path& path, Answer answer,
                                                             TakeOver take_over) {
  LB_ASSIGN(UniqueFd socket, listen_at(path));
  std::unique_ptr<ControlServer> server(new ControlServer(io, path, std::move(answer), std::move(take_over)));
  error_code error;
  server->listener_.assign(socket.get(), error);
  if (error) return fail(EIO, "cannot watch ", path.string(), ": ", error.message());
  [[maybe_unused]] const int given = socket.release();
  server->accept();
  return server;
}

ControlServer::~ControlServer() { ::unlink(path_.c_str()); }

void ControlServer::accept() {
  listener_.async_wait(StreamDescriptor::wait_read, [this](error_code error) {
    if (error) return;  // closed: this object may be gone
    UniqueFd socket(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket && may_ask(socket.get()) && peers_.size() < kMaxPeers) {
      peers_.push_back(std::make_shared<Peer>(io_, std::move(socket)));
      read(peers_.back());
    }
    accept();
  });
}

void ControlServer::read(const std::shared_ptr<Peer>& peer) {
  peer->stream.async_read_some(boost::asio::buffer(peer->chunk),
                               [this, weak = std::weak_ptr(peer)](error_code error, std::size_t size_bytes) {
                                 const auto self = weak.lock();
                                 if (!self) return;  // and so may we be
                                 if (error) return forget(self.get());
                                 self->input.append(self->chunk.data(), size_bytes);
                                 for (auto end = self->input.find('\n'); end != std::string::npos;
                                      end = self->input.find('\n')) {
                                   const std::string line = self->input.substr(0, end);
                                   self->input.erase(0, end + 1);
                                   if (!handle(*self, line)) return forget(self.get());
                                 }
                                 if (self->input.size() > kMaxControlLineBytes) return forget(self.get());
                                 read(self);
                               });
}

bool ControlServer::handle(Peer& peer, std::string_view line) {
  const auto request = parse_control_request(line);
  Result<json> answer = request ? answer_(*request) : std::unexpected(request.error());
  json reply = answer ? *std::move(answer) : json{{"error", answer.error().describe()}};
  const bool good = !reply.contains("error");
  const std::string text = reply.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  // The first thing in an empty socket buffer, and small: it fits, or the peer does not read.
  const auto sent =
      ::send(peer.stream.native_handle(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != static_cast<ssize_t>(text.size())) return false;
  const bool streams = request && good &&
                       (request->verb == ControlVerb::kConsole || request->verb == ControlVerb::kLogs ||
                        request->verb == ControlVerb::kWait || request->verb == ControlVerb::kPause);
  if (!streams) return true;
  take_over_(UniqueFd(peer.stream.release()), request->verb);
  return false;
}

void ControlServer::forget(const Peer* peer) {
  std::erase_if(peers_, [peer](const auto& one) { return one.get() == peer; });
}

}  // namespace layerboot::launcher
