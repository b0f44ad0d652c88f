#include "tests/support/fake_docker.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "oci-mount/base/str_cat.h"

namespace layerboot::test {

namespace {

constexpr int kPollMs = 50;
constexpr int kBacklog = 8;

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace

FakeDocker::FakeDocker(std::filesystem::path socket, std::string archive)
    : socket_(std::move(socket)),
      archive_(std::move(archive)),
      listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
  ::listen(listener_.get(), kBacklog);
  thread_ = std::thread([this] { answer_all(); });
}

FakeDocker::~FakeDocker() {
  ending_ = true;
  if (thread_.joinable()) thread_.join();
}

void FakeDocker::answer_all() {
  while (!ending_) {
    pollfd one{listener_.get(), POLLIN, 0};
    if (::poll(&one, 1, kPollMs) <= 0) continue;
    const UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) answer(client.get());
  }
}

void FakeDocker::answer(int client_fd) const {
  std::string request;
  std::array<char, 4096> piece{};
  while (request.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = ::recv(client_fd, piece.data(), piece.size(), 0);
    if (got <= 0) return;
    request.append(piece.data(), static_cast<std::size_t>(got));
  }
  const bool image = request.find("/images/") != std::string::npos;
  const std::string_view body = image ? std::string_view(archive_) : std::string_view("OK");
  send_all(client_fd, str_cat("HTTP/1.1 200 OK\r\nContent-Type: ", image ? "application/x-tar" : "text/plain",
                              "\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n"));
  send_all(client_fd, body);
}

}  // namespace layerboot::test
