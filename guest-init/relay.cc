#include "guest-init/relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "guest-init/exit_codes.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"

namespace guest_init {

namespace {

Fd connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return {};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd && connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return {};
  return fd;
}

Fd connect_port(const std::string& text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) {
    errno = EINVAL;
    return {};
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd && connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return {};
  return fd;
}

/// One piece from `from` to `to`. False at the end of either.
bool copy_piece(int from, int to) {
  char piece[16384];
  const ssize_t got = read(from, piece, sizeof(piece));
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  return got > 0 && write_all(to, {piece, static_cast<std::size_t>(got)});
}

}  // namespace

void become_relay(const std::string& target, int report) {
  Fd peer = target.starts_with('/') ? connect_unix(target) : connect_port(target);
  if (!peer) {
    const std::string text = static_cast<char>(kNotStarted) +
                             ("cannot connect to " + target + " in the VM: ") + std::strerror(errno);
    [[maybe_unused]] const ssize_t told = write(report, text.data(), text.size());
    _exit(kNotStarted);
  }
  // There is no exec to close what other sessions have open here; the report's end says that we run.
  constexpr int kPeer = 3;
  dup2(peer.get(), kPeer);
  syscall(SYS_close_range, kPeer + 1, ~0U, 0);
  std::signal(SIGPIPE, SIG_IGN);
  pollfd watched[2] = {{STDIN_FILENO, POLLIN, 0}, {kPeer, POLLIN, 0}};
  for (;;) {
    if (poll(watched, 2, -1) < 0 && errno != EINTR) _exit(1);
    if (watched[0].revents != 0 && !copy_piece(STDIN_FILENO, kPeer)) {
      shutdown(kPeer, SHUT_WR);
      watched[0].fd = -1;
    }
    if (watched[1].revents != 0 && !copy_piece(kPeer, STDOUT_FILENO)) _exit(0);
  }
}

}  // namespace guest_init
