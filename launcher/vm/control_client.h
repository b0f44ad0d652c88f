// ControlClient: talks to the supervisor of a running VM.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launcher/vm/control_protocol.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// One connection, with blocking calls.
class ControlClient {
 public:
  /// How long a supervisor, which does nothing slow, may take to answer.
  static constexpr std::chrono::seconds kPatience{10};

  /// ENOENT or ECONNREFUSED: nobody runs this VM.
  static Result<ControlClient> connect(const std::filesystem::path& socket);

  /// The answer; an error of the supervisor's is an Error here.
  Result<nlohmann::json> ask(const ControlRequest& request);
  /// Waits for the supervisor to end; false when it still runs after `bound`.
  Result<bool> wait_end(std::chrono::milliseconds bound) const;
  /// For a supervisor that does not answer: its end takes QEMU and the daemons with it.
  void kill_supervisor() const;
  /// After a console or logs request: the stream. Ends this client.
  UniqueFd take_socket() { return std::move(socket_); }

 private:
  ControlClient(UniqueFd socket, UniqueFd pidfd) : socket_(std::move(socket)), pidfd_(std::move(pidfd)) {}

  UniqueFd socket_;
  UniqueFd pidfd_;  // of the supervisor
};

/// True for connect()'s errors that say that nobody is there.
bool is_nobody(const Error& error);

}  // namespace layerboot::launcher
