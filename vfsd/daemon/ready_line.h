// What --ready-fd gets.
#pragma once

#include <chrono>

#include "oci-mount/base/result.h"

namespace layerboot::vfsd {

struct StartTimes {
  std::chrono::steady_clock::time_point began;
  std::chrono::steady_clock::time_point indexes_open;  // of the image; of a directory in place, that
};

/// Writes one line in one piece and closes the descriptor, which may be -1 for none:
/// "ready indexes_open_us=N ready_us=N", both counted from `began`.
Result<void> announce_ready(int ready_fd, const StartTimes& times);

}  // namespace layerboot::vfsd
