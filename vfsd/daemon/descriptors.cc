#include "vfsd/daemon/descriptors.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/inherited_descriptors.h"

namespace layerboot::vfsd {

namespace {

Result<void> close_between(unsigned first, unsigned last) {
  if (first > last || ::syscall(SYS_close_range, first, last, 0) == 0) return {};
  return errno_error("close_range");
}

}  // namespace

Result<void> close_stray_descriptors(std::span<const int> kept) {
  std::vector<int> sorted(kept.begin(), kept.end());
  std::ranges::sort(sorted);
  unsigned next = STDERR_FILENO + 1;
  for (const int fd : sorted) {
    if (fd < 0 || static_cast<unsigned>(fd) < next) continue;
    LB_TRY(close_between(next, static_cast<unsigned>(fd) - 1));
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    next = static_cast<unsigned>(fd) + 1;
  }
  LB_TRY(close_between(next, ~0U));
  LB_ASSIGN(const UniqueFd null_device, open_path("/dev/null", O_RDWR));
  const bool stdin_is_kept = std::ranges::find(kept, STDIN_FILENO) != kept.end();
  if (!stdin_is_kept && ::dup2(null_device.get(), STDIN_FILENO) < 0) return errno_error("/dev/null");
  return {};
}

Result<void> limit_descriptors(rlim_t room, rlim_t more) {
  LB_ASSIGN(const auto open, open_descriptors());
  const auto highest = static_cast<rlim_t>(open.empty() ? 0 : std::ranges::max(open));
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return errno_error("RLIMIT_NOFILE");
  const rlim_t most = more == 0 ? limit.rlim_cur : limit.rlim_max;
  limit.rlim_cur = std::min<rlim_t>(most, highest + 1 + room + more);
  limit.rlim_max = limit.rlim_cur;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return errno_error("RLIMIT_NOFILE");
  return {};
}

}  // namespace layerboot::vfsd
