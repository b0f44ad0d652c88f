#include "oci-mount/mount/mount_walls.h"

#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "oci-mount/base/walls.h"

namespace layerboot::mount {

namespace {

/// become_nobody() of one that is to end with its parent, and still is: the signal that tells it is lost with
/// the user.
Result<void> become_nobody_below_our_parent() {
  const pid_t parent = ::getppid();
  int death_signal = 0;
  if (::prctl(PR_GET_PDEATHSIG, &death_signal) != 0) return errno_error("PR_GET_PDEATHSIG");
  become_nobody();
  return end_with_parent(death_signal, parent);
}

}  // namespace

Result<void> give_up_rights(bool opens_files) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error("no_new_privs");
  // Root without capabilities owns root's files all the same, and may write them.
  if (opens_files && ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return errno_error("PR_SET_KEEPCAPS");
  LB_TRY(become_nobody_below_our_parent());
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> rights{};
  if (::syscall(SYS_capget, &header, rights.data()) != 0) return errno_error("capget");
  constexpr std::uint32_t kOpen = 1U << CAP_DAC_READ_SEARCH;
  // What is left is in effect where it was: an ordinary user has none, and the new user nothing in effect.
  rights[0].permitted &= opens_files ? kOpen : 0;
  rights[0].effective = rights[0].permitted;
  rights[0].inheritable = 0;
  rights[1] = {};
  if (::syscall(SYS_capset, &header, rights.data()) != 0) return errno_error("cannot give up capabilities");
  return {};
}

Result<void> allow_only_reading(IoEngine engine, bool opens_files) {
  // Of a call that is not wanted there is a second one that is allowed anyway.
  const int ring = engine == IoEngine::kUring ? SCMP_SYS(io_uring_enter) : SCMP_SYS(epoll_wait);
  const int open = opens_files ? SCMP_SYS(openat2) : SCMP_SYS(read);
  return allow_only_what_is_open(
      {ring, open,
       // the kernel's requests and our replies; the end, and the keeper's
       SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(wait4),
       // reactors and workers
       SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(poll), SCMP_SYS(ppoll),
       SCMP_SYS(timerfd_settime), SCMP_SYS(clock_nanosleep), SCMP_SYS(sched_getaffinity),
       // blobs
       SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek)});
}

}  // namespace layerboot::mount
