#include "launcher/host/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace layerboot::launcher {

Result<std::pair<UniqueFd, UniqueFd>> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return errno_error("socketpair");
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<void> check_socket_path(const std::filesystem::path& path) {
  constexpr std::size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
  if (path.native().size() <= kMaxBytes) return {};
  return fail(ENAMETOOLONG, "socket path ", path.string(), " has ", path.native().size(),
              " bytes, more than the ", kMaxBytes,
              " of a Unix socket: set XDG_RUNTIME_DIR to a shorter directory, or shorten the name");
}

namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  LB_TRY(check_socket_path(path));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  return address;
}

}  // namespace

std::optional<ucred> credentials_of(int socket) {
  ucred peer{};
  socklen_t size_bytes = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size_bytes) != 0) return std::nullopt;
  return peer;
}

bool is_us_or_root(const ucred& peer) { return peer.uid == ::geteuid() || peer.uid == 0; }

Result<UniqueFd> listen_at(const std::filesystem::path& path) {
  LB_ASSIGN(const sockaddr_un address, address_of(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno_error("socket");
  // Before bind(2), which takes the mode for the file.
  if (::fchmod(socket.get(), 0600) != 0) return errno_error("fchmod of a socket");
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    return errno_error("cannot listen at ", path.string());
  }
  return socket;
}

Result<UniqueFd> connect_to_anyone(const std::filesystem::path& path) {
  LB_ASSIGN(const sockaddr_un address, address_of(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno_error("socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return errno_error("cannot connect to ", path.string());
  }
  if (::fcntl(socket.get(), F_SETFL, 0) != 0) return errno_error("fcntl");
  return socket;
}

Result<UniqueFd> connect_to(const std::filesystem::path& path) {
  LB_ASSIGN(UniqueFd socket, connect_to_anyone(path));
  const auto peer = credentials_of(socket.get());
  if (!peer) return errno_error("cannot tell who listens at ", path.string());
  if (is_us_or_root(*peer)) return socket;
  return fail(EPERM, "user ", peer->uid, " listens at ", path.string(),
              ", neither you nor root: is XDG_RUNTIME_DIR yours?");
}

pid_t peer_of(const UniqueFd& socket) {
  const auto peer = credentials_of(socket.get());
  return peer ? peer->pid : 0;
}

Result<DaemonConnection> connect_daemon(const std::filesystem::path& path) {
  auto socket = connect_to_anyone(path);
  if (!socket) {
    const Error& error = socket.error();
    if (error.code == ENOENT || error.code == ECONNREFUSED) {
      return fail(error.code, "no daemon serves ", path.string(),
                  ": start one with 'layerboot serve IMAGE --socket-path ", path.string(), "'");
    }
    if (error.code == EAGAIN) return fail(EBUSY, "the daemon at ", path.string(), " is busy with other VMs");
    return std::unexpected(error);
  }
  DaemonConnection connection;
  connection.socket = *std::move(socket);
  connection.daemon = peer_of(connection.socket);
  return connection;
}

}  // namespace layerboot::launcher
