// Channel: whole vhost-user messages over a Unix socket.
#pragma once

#include <optional>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/vhost/message.h"

namespace layerboot::vfsd::vhost {

/// Owns the connection. Not thread-safe. Any error is the end of it: after broken framing there is no telling
/// where the next message starts.
class Channel {
 public:
  /// `socket` becomes non-blocking.
  static Result<Channel> adopt(UniqueFd socket);

  [[nodiscard]] int fd() const { return socket_.get(); }

  /// What is there of the next message, as far as it goes without waiting: a whole message, or nothing yet.
  /// ENOTCONN when the front end has closed the connection. Call again until there is nothing.
  Result<std::optional<Message>> receive();

  /// Answers `request` with `payload` (at most kMaxPayloadBytes). Waits some seconds for a front end that
  /// does not read, then fails with ETIMEDOUT.
  Result<void> reply(const Header& request, std::span<const std::byte> payload);

 private:
  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}
  /// Reads up to `size_bytes` into `into`; 0 when there is nothing at the moment.
  Result<std::size_t> read_some(std::byte* into, std::size_t size_bytes);
  Result<void> check_header();

  UniqueFd socket_;
  Message incoming_;
  std::size_t received_bytes_ = 0;  // of header and payload together
};

}  // namespace layerboot::vfsd::vhost
