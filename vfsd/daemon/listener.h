// The socket that front ends connect to.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::vfsd {

/// A listening Unix socket. Removes its file, if it made one, when it goes.
class Listener {
 public:
  /// Binds `path`, which the user has given by `option`. A socket file that nobody listens on any more is
  /// replaced; EADDRINUSE if somebody does, EEXIST if something else has the name, ENAMETOOLONG if no socket
  /// can have it.
  static Result<Listener> bind(const std::filesystem::path& path, std::string_view option = "--socket-path");
  /// Takes an inherited socket, which need not be a listening one: see is_connected().
  static Result<Listener> adopt(int fd);

  Listener(Listener&& other) noexcept
      : socket_(std::move(other.socket_)),
        directory_(std::move(other.directory_)),
        name_(std::exchange(other.name_, {})),
        connected_(other.connected_) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  /// The inherited socket is one front end's connection; there will be no other.
  [[nodiscard]] bool is_connected() const { return connected_; }
  /// Gives the socket away; the file is still removed by this object.
  UniqueFd take_socket() { return std::move(socket_); }

 private:
  Listener(UniqueFd socket, bool connected) : socket_(std::move(socket)), connected_(connected) {}

  UniqueFd socket_;
  // Where the file is, which has no path any more when the daemon is in its sandbox. No way leads up from
  // here.
  UniqueFd directory_;
  std::string name_;  // empty: not ours
  bool connected_ = false;
};

}  // namespace layerboot::vfsd
