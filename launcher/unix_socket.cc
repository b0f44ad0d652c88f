#include "launcher/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "launcher/vm_directory.h"

namespace layerboot::launcher {

Result<std::pair<UniqueFd, UniqueFd>> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return errno_error("socketpair");
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<DaemonConnection> connect_daemon(const std::filesystem::path& path) {
  LB_TRY(check_socket_path(path));
  DaemonConnection connection;
  connection.socket = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection.socket) return errno_error("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  if (::connect(connection.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) {
      return fail(errno, "no daemon serves ", path.string(),
                  ": start one with 'layerboot serve IMAGE --socket-path ", path.string(), "'");
    }
    if (errno == EAGAIN) return fail(EBUSY, "the daemon at ", path.string(), " is busy with other VMs");
    return errno_error("cannot connect to ", path.string());
  }
  if (::fcntl(connection.socket.get(), F_SETFL, 0) != 0) return errno_error("fcntl");
  ucred peer{};
  socklen_t size_bytes = sizeof(peer);
  if (::getsockopt(connection.socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size_bytes) == 0) {
    connection.daemon = peer.pid;
  }
  return connection;
}

}  // namespace layerboot::launcher
