// What of a console's log somebody wants to see.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// From this byte on, it was said at that time or later.
struct LogTime {
  std::uint64_t offset = 0;
  std::int64_t seconds = 0;  // since 1970

  bool operator==(const LogTime&) const = default;
};

struct LogChoice {
  std::optional<std::uint64_t> tail;  // so many lines at the end
  std::optional<std::int64_t> since;  // seconds since 1970
  bool timestamps = false;            // before each line, of its first byte

  [[nodiscard]] bool all() const { return !tail && !since && !timestamps; }
};

/// Reads a file of ConsoleLog's times; what is damaged in it is left out. `shift` is added to the offsets.
void read_log_times(std::string_view text, std::uint64_t shift, std::vector<LogTime>& times);

/// Pure. A line that is not ended yet counts as one.
std::string choose_log(std::string_view text, const std::vector<LogTime>& times, const LogChoice& choice);

/// Docker's `--since`: "90", "10m", "1h30m", "2d" ago, seconds since 1970, or RFC 3339's date or time.
Result<std::int64_t> parse_since(std::string_view text, std::int64_t now);

}  // namespace layerboot::launcher
