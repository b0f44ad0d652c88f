// What vfsd says on its --ready-fd, as vfsd(1) has it.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace layerboot::launcher {

struct ReadyLine {
  /// How long its image was open already when it said so. Not told by a vfsd that knows no such word.
  std::optional<std::chrono::microseconds> since_indexes_open;
};

/// More is no ready line.
inline constexpr std::size_t kMaxReadyLineBytes = 256;

/// `line` is without its end. Nothing when that is something else; words that are not known are skipped.
[[nodiscard]] std::optional<ReadyLine> parse_ready_line(std::string_view line);

}  // namespace layerboot::launcher
