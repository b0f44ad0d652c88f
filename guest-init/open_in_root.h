// Opening a path of an image with the image's root as the root: its symlinks lead nowhere else.
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace guest_init {

/// openat2(2) with RESOLVE_IN_ROOT and O_CLOEXEC; -1 and errno.
inline int open_in_root(int root, const char* path, int flags) {
  // Linux gives up on "..", which symlinks have, where anything at all is mounted or renamed meanwhile.
  constexpr int kTries = 64;
  open_how how{};
  how.flags = static_cast<__u64>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT;
  int opened = -1;
  for (int i = 0; i < kTries; ++i) {
    opened = static_cast<int>(syscall(SYS_openat2, root, path, &how, sizeof(how)));
    if (opened >= 0 || errno != EAGAIN) break;
  }
  return opened;
}

}  // namespace guest_init
