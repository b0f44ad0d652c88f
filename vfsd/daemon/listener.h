// The socket that front ends connect to.
#pragma once

#include <filesystem>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::vfsd {

/// A listening Unix socket. Removes its file, if it made one, when it goes.
class Listener {
 public:
  /// Binds `path`. A socket file that nobody listens on any more is replaced; EADDRINUSE if somebody does,
  /// EEXIST if something else has the name, ENAMETOOLONG if no socket can have it.
  static Result<Listener> bind(const std::filesystem::path& path);
  /// Takes an inherited socket, which need not be a listening one: see is_connected().
  static Result<Listener> adopt(int fd);

  Listener(Listener&& other) noexcept
      : socket_(std::move(other.socket_)),
        path_(std::exchange(other.path_, {})),
        connected_(other.connected_) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  /// The inherited socket is one front end's connection; there will be no other.
  [[nodiscard]] bool is_connected() const { return connected_; }
  /// Gives the socket away; the file is still removed by this object.
  UniqueFd take_socket() { return std::move(socket_); }

 private:
  Listener(UniqueFd socket, std::filesystem::path path, bool connected)
      : socket_(std::move(socket)), path_(std::move(path)), connected_(connected) {}

  UniqueFd socket_;
  std::filesystem::path path_;  // empty: not ours
  bool connected_ = false;
};

}  // namespace layerboot::vfsd
