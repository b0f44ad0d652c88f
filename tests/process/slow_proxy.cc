#include "tests/process/slow_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>

namespace layerboot::test {

namespace {

constexpr int kPollMs = 50;
constexpr std::size_t kPieceBytes = 16 * 1024;
constexpr int kBacklog = 32;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

bool is_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, kPollMs) > 0;
}

}  // namespace

int bind_loopback(const UniqueFd& socket) {
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return -1;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

UniqueFd connect_loopback(int port) {
  UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    client.reset();
  return client;
}

SlowProxy::SlowProxy(int target_port)
    : target_port_(target_port), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  port_ = bind_loopback(listener_);
  ::listen(listener_.get(), kBacklog);
  acceptor_ = std::thread([this] { accept_all(); });
}

SlowProxy::~SlowProxy() {
  ending_ = true;
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
}

void SlowProxy::accept_all() {
  while (!ending_) {
    if (!is_readable(listener_.get())) continue;
    const int client = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    connections_.emplace_back([this, client] { serve(client); });
  }
}

void SlowProxy::serve(int client_fd) {
  const UniqueFd client(client_fd);
  const UniqueFd server = connect_loopback(target_port_);
  if (!server) return;
  std::thread upwards([&] { pump(client.get(), server.get(), false); });
  pump(server.get(), client.get(), true);
  ::shutdown(client.get(), SHUT_RDWR);
  ::shutdown(server.get(), SHUT_RDWR);
  upwards.join();
}

void SlowProxy::pump(int from, int to, bool slowly) {
  std::array<char, kPieceBytes> piece{};
  while (!ending_) {
    if (!is_readable(from)) continue;
    const ssize_t got = ::recv(from, piece.data(), piece.size(), 0);
    if (got <= 0) break;
    const std::uint64_t rate = rate_;
    if (slowly && rate != 0) {
      const std::uint64_t micros = static_cast<std::uint64_t>(got) * 1'000'000 / rate;
      std::this_thread::sleep_for(std::chrono::microseconds(micros));
    }
    if (::send(to, piece.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) break;
  }
  ::shutdown(to, SHUT_WR);
}

}  // namespace layerboot::test
