#include "vfsd/daemon/ready_line.h"

#include <unistd.h>

#include <string>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::vfsd {

Result<void> announce_ready(int ready_fd, const StartTimes& times) {
  if (ready_fd < 0) return {};
  const UniqueFd fd(ready_fd);
  const auto since_began = [&times](std::chrono::steady_clock::time_point at) {
    return std::chrono::duration_cast<std::chrono::microseconds>(at - times.began).count();
  };
  const std::string line = str_cat("ready indexes_open_us=", since_began(times.indexes_open),
                                   " ready_us=", since_began(std::chrono::steady_clock::now()), "\n");
  if (::write(ready_fd, line.data(), line.size()) < 0) return errno_error("--ready-fd ", ready_fd);
  return {};
}

}  // namespace layerboot::vfsd
