#include "vfsd/daemon/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

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

/// bind(2), which makes the file by the umask: nobody else can connect to it at any moment.
Result<void> bind_for(mode_t mode, int socket, const sockaddr_un& address) {
  const mode_t before = ::umask(0777 & ~mode);
  const int bound = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int code = errno;
  ::umask(before);
  if (bound != 0) return fail(code, "socket ", address.sun_path, ": ", Error{code, {}}.describe());
  return {};
}

/// Binds in the place of a dead daemon, whose keeper may be about to remove its file.
Result<SocketFile> take_name(const std::filesystem::path& path, std::string_view option, int socket,
                             const sockaddr_un& address, mode_t mode) {
  LB_ASSIGN(SocketFile file, SocketFile::at(path));
  const SocketNamesTurn turn(file.directory.get());
  LB_TRY(remove_stale(path, address, option));
  LB_TRY(bind_for(mode, socket, address));
  LB_TRY(file.hold());
  return file;
}

/// Whether one of the peer's groups beside its main one is `group`. Of the first 64 Ki, as many as there are.
bool has_group(int socket, gid_t group) {
  std::vector<gid_t> groups(1U << 16);
  socklen_t size_bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size_bytes) != 0) return false;
  groups.resize(size_bytes / sizeof(gid_t));
  return std::ranges::find(groups, group) != groups.end();
}

}  // namespace

Result<void> PeerRule::check(int socket) const {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return errno_error("SO_PEERCRED");
  if (peer.uid == 0 || peer.uid == owner) return {};
  if (group && (peer.gid == *group || has_group(socket, *group))) return {};
  return fail(EACCES, "process ", peer.pid, " of user ", peer.uid);
}

Result<Listener> Listener::bind(const std::filesystem::path& path, std::string_view option,
                                std::optional<gid_t> group) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto& text = path.native();
  if (text.size() >= sizeof(address.sun_path)) {
    return fail(ENAMETOOLONG, "socket ", text, ": a socket's path has at most ", sizeof(address.sun_path) - 1,
                " bytes, this one has ", text.size());
  }
  std::memcpy(address.sun_path, text.data(), text.size());
  LB_ASSIGN(auto socket, make_socket());
  LB_ASSIGN(auto file, take_name(path, option, socket.get(), address, group ? 0660 : 0600));
  Listener listener(std::move(socket), false);
  listener.file_ = std::move(file);
  if (group && ::fchownat(listener.file_->directory.get(), listener.file_->name.c_str(),
                          static_cast<uid_t>(-1), *group, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("socket ", text, " for group ", *group,
                       " (an ordinary user can give it to groups that it is in)");
  }
  listener.peers_ = PeerRule{.owner = ::geteuid(), .group = group};
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
  if (file_) file_->remove();
}

}  // namespace layerboot::vfsd
