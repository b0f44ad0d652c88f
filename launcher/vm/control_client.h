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
  /// What it says by itself, after a wait or pause request; an error of its is an Error here. EINTR when
  /// interrupted (run_tool.h).
  Result<nlohmann::json> hear(std::chrono::milliseconds bound);
  /// Nothing more will be asked.
  Result<void> end_input();
  /// Waits for the supervisor to end; false when it still runs after `bound`.
  Result<bool> wait_end(std::chrono::milliseconds bound) const;
  /// For a supervisor that does not answer: its end takes QEMU and the daemons with it.
  void kill_supervisor() const;
  /// After a console or logs request: the stream. Ends this client.
  UniqueFd take_socket() { return std::move(socket_); }

 private:
  ControlClient(UniqueFd socket, UniqueFd pidfd) : socket_(std::move(socket)), pidfd_(std::move(pidfd)) {}

  Result<nlohmann::json> read_answer();

  UniqueFd socket_;
  UniqueFd pidfd_;  // of the supervisor
};

/// True for connect()'s errors that say that nobody is there.
bool is_nobody(const Error& error);

}  // namespace layerboot::launcher
