// VmPause: a running VM whose processors stand still, as long as this lives.
#pragma once

#include <chrono>
#include <filesystem>

#include "launcher/vm/control_client.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Held by a connection to the VM's supervisor: however this process ends, the VM goes on.
class VmPause {
 public:
  /// For a daemon that still serves what it has been asked for.
  static constexpr std::chrono::seconds kPatience{60};

  /// Returns when the VM stands still, and its daemons have done all that it had asked of them. EAGAIN when
  /// it can't be paused now; EINTR when interrupted.
  static Result<VmPause> begin(const std::filesystem::path& control_socket);

  /// Returns when it goes on. An Error: it went on before, or has ended.
  Result<void> end();

 private:
  explicit VmPause(ControlClient client) : client_(std::move(client)) {}

  ControlClient client_;
};

}  // namespace layerboot::launcher
