#include "launcher/host/pidfd.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace layerboot::launcher {

Result<UniqueFd> open_pidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return errno_error("pidfd_open of process ", pid);
  return fd;
}

}  // namespace layerboot::launcher
