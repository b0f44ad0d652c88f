#include "oci-mount/mount/mount_keeper.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "oci-mount/base/log.h"
#include "oci-mount/base/pipe.h"

namespace layerboot::mount {

namespace {

constexpr char kUnmount = 'u';
/// Where the pipe's end is in the keeper: behind the standard streams.
constexpr int kWordFd = 3;

/// After a fork of a process that may have threads: system calls only.
[[noreturn]] void keep(int word, const char* mountpoint) {
  ::prctl(PR_SET_NAME, "oci-mount-keep");
  // Nobody waits for our end of what the program has open, and the connection to the kernel ends with it.
  if (word != kWordFd && ::dup2(word, kWordFd) < 0) ::_exit(1);
  ::close_range(kWordFd + 1, ~0U, 0);
  for (int fd = 0; fd < kWordFd; ++fd) {
    ::close(fd);
    if (::open("/dev/null", O_RDWR) != fd) ::_exit(1);
  }
  if (::chdir("/") != 0) ::_exit(1);
  char said = 0;
  ssize_t got = 0;
  while ((got = ::read(kWordFd, &said, 1)) < 0 && errno == EINTR) {
  }
  if (got != 1 || said != kUnmount) ::_exit(0);
  if (::umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) ::_exit(0);
  if (errno == EPERM)
    ::execlp("fusermount3", "fusermount3", "-u", "-q", "-z", "--", mountpoint, static_cast<char*>(nullptr));
  ::_exit(1);
}

}  // namespace

Result<MountKeeper> MountKeeper::start(const std::string& mountpoint) {
  LB_ASSIGN(auto pipe, make_pipe());
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork");
  if (pid == 0) keep(pipe.read_end.get(), mountpoint.c_str());
  return MountKeeper(pid, std::move(pipe.write_end));
}

void MountKeeper::unmount() {
  if (::write(word_.get(), &kUnmount, 1) != 1) log_warn("the mount is left behind: its keeper has gone");
  end();
}

void MountKeeper::end() {
  if (pid_ <= 0) return;
  word_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

}  // namespace layerboot::mount
