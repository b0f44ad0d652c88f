// What is said at a supervisor's control socket. DESIGN.md has the protocol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/host/window_size.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

enum class ControlVerb { kStatus, kStop, kKill, kConsole, kLogs, kResize, kWait, kPause, kWindow };

struct ControlRequest {
  ControlVerb verb = ControlVerb::kStatus;
  std::optional<std::uint64_t> timeout_seconds;  // stop: for the guest's own shutdown
  std::uint64_t size_bytes = 0;                  // resize: of the disk of the guest's own upper
  WindowSize window = {};                        // window: of the terminal that is at the console
};

/// Longer than this is no timeout but a mistake.
inline constexpr std::uint64_t kMaxStopSeconds = 86'400;

/// One line, each way. Pure; EINVAL for what is no request.
std::string control_request_line(const ControlRequest& request);
Result<ControlRequest> parse_control_request(std::string_view line);
inline constexpr std::size_t kMaxControlLineBytes = 65'536;

}  // namespace layerboot::launcher
