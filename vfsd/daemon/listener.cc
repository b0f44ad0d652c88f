#include "vfsd/daemon/listener.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "oci-mount/base/files.h"

namespace layerboot::vfsd {

namespace {

constexpr int kBacklog = 4;

Result<UniqueFd> make_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("socket");
  return socket;
}

/// A front end may be gone again when it is accepted.
void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

/// Removes a socket file that a dead daemon left.
Result<void> remove_stale(const std::filesystem::path& path, const sockaddr_un& address,
                          std::string_view option) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT) return {};
    return errno_error("socket ", path.native());
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(EEXIST, "socket ", path.native(), ": there is a file of that name; choose another ", option);
  }
  LB_ASSIGN(const auto probe, make_socket());
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return fail(EADDRINUSE, "socket ", path.native(),
                " is in use by another daemon; stop it or choose another ", option);
  }
  if (errno != ECONNREFUSED && errno != ENOENT) return errno_error("socket ", path.native());
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return errno_error("stale socket ", path.native());
  return {};
}

/// A mount of its own where that is allowed, so that ".." leads nowhere.
Result<UniqueFd> hold_directory(const std::filesystem::path& directory) {
  UniqueFd own(::open_tree(AT_FDCWD, directory.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (own) return own;
  return open_path(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

}  // namespace

Result<Listener> Listener::bind(const std::filesystem::path& path, std::string_view option) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto& text = path.native();
  if (text.size() >= sizeof(address.sun_path)) {
    return fail(ENAMETOOLONG, "socket ", text, ": a socket's path has at most ", sizeof(address.sun_path) - 1,
                " bytes, this one has ", text.size());
  }
  std::memcpy(address.sun_path, text.data(), text.size());
  LB_TRY(remove_stale(path, address, option));
  LB_ASSIGN(auto directory, hold_directory(path.has_parent_path() ? path.parent_path() : "."));
  LB_ASSIGN(auto socket, make_socket());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    return errno_error("socket ", text);
  }
  Listener listener(std::move(socket), false);
  listener.name_ = path.filename();
  listener.directory_ = std::move(directory);
  set_nonblocking(listener.socket_.get());
  if (::listen(listener.socket_.get(), kBacklog) < 0) return errno_error("socket ", text);
  return listener;
}

Result<Listener> Listener::adopt(int fd) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0) {
    return errno_error("--fd ", fd, " is not an open socket");
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  set_nonblocking(fd);
  return Listener(UniqueFd(fd), listening == 0);
}

Listener::~Listener() {
  if (!name_.empty()) ::unlinkat(directory_.get(), name_.c_str(), 0);
}

}  // namespace layerboot::vfsd
