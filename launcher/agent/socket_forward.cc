#include "launcher/agent/socket_forward.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {

using boost::system::error_code;

namespace {

/// Removes the socket of a launcher that was killed, and nothing else.
Result<void> make_room(const std::filesystem::path& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return {};
  if (!S_ISSOCK(st.st_mode)) return fail(EEXIST, path.string(), " is there already, and is no socket");
  if (connect_to_anyone(path)) return fail(EADDRINUSE, "somebody listens at ", path.string(), " already");
  if (::unlink(path.c_str()) != 0) return errno_error("cannot remove stale socket ", path.string());
  return {};
}

Result<UniqueFd> listen_on_loopback(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error("socket");
  // Connections of an earlier run in TIME_WAIT do not keep the port.
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return errno_error("cannot listen at 127.0.0.1:", port);
  }
  return fd;
}

bool somebody_waits(int listener) {
  pollfd wanted{.fd = listener, .events = POLLIN, .revents = 0};
  return ::poll(&wanted, 1, 0) > 0;
}

}  // namespace

SocketForward::SocketForward(boost::asio::io_context& io, AgentBroker& broker, std::string name,
                             std::string guest)
    : io_(io),
      broker_(broker),
      name_(std::move(name)),
      guest_(std::move(guest)),
      listener_(io),
      shares_(broker.shares()),
      share_(shares_->join([this] { accept(); })),
      self_(std::make_shared<SocketForward*>(this)) {}

SocketForward::~SocketForward() {
  shares_->leave(share_);
  if (file_) file_->remove();
}

Result<std::unique_ptr<SocketForward>> SocketForward::listen(boost::asio::io_context& io, AgentBroker& broker,
                                                             const std::filesystem::path& host,
                                                             std::string guest) {
  std::unique_ptr<SocketForward> forward(new SocketForward(io, broker, host.string(), std::move(guest)));
  LB_ASSIGN(SocketFile file, SocketFile::at(host));
  const SocketNamesTurn turn(file.directory.get());
  LB_TRY(make_room(host));
  LB_ASSIGN(UniqueFd listener, listen_at(host));
  LB_TRY(file.hold());
  forward->file_ = std::move(file);
  LB_TRY(forward->begin(std::move(listener)));
  return forward;
}

Result<std::unique_ptr<SocketForward>> SocketForward::listen_at_port(boost::asio::io_context& io,
                                                                     AgentBroker& broker, std::uint16_t port,
                                                                     std::string guest) {
  LB_ASSIGN(UniqueFd listener, listen_on_loopback(port));
  std::unique_ptr<SocketForward> forward(
      new SocketForward(io, broker, str_cat("127.0.0.1:", port), std::move(guest)));
  LB_TRY(forward->begin(std::move(listener)));
  return forward;
}

Result<void> SocketForward::begin(UniqueFd listener) {
  error_code error;
  listener_.assign(listener.get(), error);
  if (error) return fail(error.value(), name_, ": ", error.message());
  [[maybe_unused]] const int given = listener.release();
  accept();
  return {};
}

void SocketForward::accept() {
  if (accepting_) return;
  accepting_ = true;
  listener_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [weak = std::weak_ptr(self_)](error_code error) {
                         const auto alive = weak.lock();
                         if (!alive || error) return;
                         (*alive)->accepting_ = false;
                         (*alive)->take_connection();
                       });
}

void SocketForward::take_connection() {
  if (!broker_.has_room(share_)) {
    tell_crowded();
    return shares_->wait(share_);
  }
  UniqueFd socket(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket) {
    if (const auto done = connect(std::move(socket)); !done)
      failures_.warn(name_, ": ", done.error().describe());
  }
  if (!somebody_waits(listener_.native_handle())) is_crowded_ = false;
  accept();
}

void SocketForward::tell_crowded() {
  if (std::exchange(is_crowded_, true)) return;
  crowds_.warn(name_, ": further connections wait until others end: ", connections_.size(),
               " are open here, and a VM has ", SessionShares::kMaxForAll, " for all its forwards");
}

Result<void> SocketForward::connect(UniqueFd socket) {
  LB_ASSIGN(auto ends, socket_pair());
  LB_TRY(broker_.adopt_forwarded(std::move(ends.first), share_));
  const std::uint64_t number = ++last_number_;
  Connection connection;
  const int fd = socket.get();
  connection.socket = std::move(socket);
  connection.session = std::make_unique<SessionClient>(
      io_, std::move(ends.second),
      SessionStdio{.input = fd, .output = fd, .error = -1},  // which a connection has not
      [this, number](const SessionEnd& end) { ended(number, end); });
  guest_init::SessionRequest request;
  request.connect = guest_;
  request.user = "0";
  const auto started = connection.session->start(request);
  connections_.emplace(number, std::move(connection));
  return started;
}

void SocketForward::ended(std::uint64_t number, const SessionEnd& end) {
  if (!end.failure.empty()) failures_.warn(name_, ": ", end.failure);
  const auto at = connections_.find(number);
  if (at == connections_.end()) return;
  // The session is in the middle of telling us.
  boost::asio::post(io_, [gone = std::make_shared<Connection>(std::move(at->second))] {});
  connections_.erase(at);
}

}  // namespace layerboot::launcher
