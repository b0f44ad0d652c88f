// GuestStill: a guest that has given all it has written to its disk, and, where that disk is its own, stands
// still on it.
#pragma once

#include <chrono>
#include <filesystem>

#include "guest-init/agent_protocol.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// One session of the guest's agent (guest-init/freeze_upper.h), with blocking calls. However this process
/// ends, its connection ends with it, and the guest goes on.
class GuestStill {
 public:
  /// For a guest that has much to write to a slow disk.
  static constexpr std::chrono::seconds kPatience{120};

  /// ETIMEDOUT when the guest does not answer; EIO, with its reason, when it can't; EINTR when interrupted.
  /// `patience` is for the whole answer, in however many pieces it comes.
  static Result<GuestStill> begin(const std::filesystem::path& agent_socket,
                                  std::chrono::milliseconds patience = kPatience);

  /// Its disk stands still; else it has none, and has synced what it had written to the host's daemon.
  [[nodiscard]] bool is_frozen() const { return is_frozen_; }
  /// Lets it go on. An Error: it has not stood still all the time.
  Result<void> end();

 private:
  GuestStill(UniqueFd socket, std::chrono::milliseconds patience)
      : socket_(std::move(socket)), patience_(patience) {
    decoder_.accept();
  }
  Result<void> send(std::string_view bytes);
  /// The session's next words on its standard output; nothing when it has ended well.
  Result<std::string> hear(std::chrono::steady_clock::time_point late);

  UniqueFd socket_;
  std::chrono::milliseconds patience_;
  guest_init::FrameDecoder decoder_;
  std::string said_wrong_;
  bool is_frozen_ = false;
};

}  // namespace layerboot::launcher
