// The socket that front ends connect to.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/daemon/socket_keeper.h"

namespace layerboot::vfsd {

/// Who may connect to a socket that we have made: root, its owner, and members of `group`.
struct PeerRule {
  uid_t owner = 0;
  std::optional<gid_t> group;

  /// EACCES, with the peer in its text, for one who may not.
  Result<void> check(int socket) const;
};

/// A listening Unix socket. Removes its file, if it made one and nobody has taken that over, when it goes.
class Listener {
 public:
  /// Binds `path`, which the user has given by `option`, for its owner (mode 0600), or for `group` as well
  /// (0660). A socket file that nobody listens on any more is replaced; EADDRINUSE if somebody does, EEXIST
  /// if something else has the name, ENAMETOOLONG if no socket can have it. Changes the process's umask for a
  /// moment: before threads.
  static Result<Listener> bind(const std::filesystem::path& path, std::string_view option = "--socket-path",
                               std::optional<gid_t> group = {});
  /// Takes an inherited socket, which need not be a listening one: see is_connected(). Who may connect to it
  /// is its maker's business.
  static Result<Listener> adopt(int fd);

  Listener(Listener&& other) noexcept
      : socket_(std::move(other.socket_)),
        file_(std::exchange(other.file_, std::nullopt)),
        peers_(other.peers_),
        connected_(other.connected_) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  /// The inherited socket is one front end's connection; there will be no other.
  [[nodiscard]] bool is_connected() const { return connected_; }
  /// Gives the socket away; the file is still removed by this object.
  UniqueFd take_socket() { return std::move(socket_); }
  /// Gives the file away, where there is one.
  std::optional<SocketFile> take_file() { return std::exchange(file_, std::nullopt); }
  /// None for an inherited socket.
  [[nodiscard]] const std::optional<PeerRule>& peers() const { return peers_; }
  /// The file's mode alone decides: for a user namespace that does not know the numbers of others.
  void leave_peers_to_mode() { peers_.reset(); }

 private:
  Listener(UniqueFd socket, bool connected) : socket_(std::move(socket)), connected_(connected) {}

  UniqueFd socket_;
  std::optional<SocketFile> file_;
  std::optional<PeerRule> peers_;
  bool connected_ = false;
};

}  // namespace layerboot::vfsd
