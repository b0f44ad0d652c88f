#include "guest-init/freeze_upper.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "guest-init/exit_codes.h"
#include "guest-init/guest_upper.h"

namespace guest_init {

namespace {

constexpr int kTop = STDERR_FILENO + 1;

[[noreturn]] void refuse(const std::string& why) {
  const std::string message = why + "\n";
  [[maybe_unused]] const ssize_t told = write(STDERR_FILENO, message.data(), message.size());
  _exit(kNotStarted);
}

[[noreturn]] void refuse_with_errno(const std::string& what) { refuse(what + ": " + std::strerror(errno)); }

/// Before anything stands still: what a signal would end must not stay so.
int hold_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGHUP, SIGINT, SIGTERM}) sigaddset(&signals, number);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

void wait_for_end(int signals) {
  pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {signals, POLLIN, 0}};
  for (;;) {
    if (poll(watched, 2, -1) < 0) continue;
    if (watched[1].revents != 0) return;
    char ignored[64];
    if (watched[0].revents != 0 && read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0) return;
  }
}

void tell_launcher(std::string_view text) {
  [[maybe_unused]] const ssize_t told = write(STDOUT_FILENO, text.data(), text.size());
}

}  // namespace

void become_freeze(int root) {
  const int upper = open(kUpperMount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct statfs at{};
  const bool has_upper = upper >= 0 && fstatfs(upper, &at) == 0;
  const bool is_disk = has_upper && at.f_type == EXT4_SUPER_MAGIC;
  if (has_upper && !is_disk) refuse("the guest keeps in its memory what it writes");
  // The root may be lent as a path alone, by which nothing can be synced.
  const int top = is_disk ? upper : openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (top < 0 || dup2(top, kTop) < 0) refuse_with_errno("cannot open what the guest writes to");
  // Without the agent's, among them the other end of our own input.
  syscall(SYS_close_range, kTop + 1, ~0U, 0);
  const int signals = hold_signals();
  if (syncfs(kTop) != 0) refuse_with_errno("cannot sync what the guest has written");
  if (is_disk && ioctl(kTop, FIFREEZE, 0) != 0) refuse_with_errno("cannot freeze the guest's disk");
  tell_launcher(is_disk ? kSaysFrozen : kSaysSynced);
  wait_for_end(signals);
  if (is_disk && ioctl(kTop, FITHAW, 0) != 0) refuse_with_errno("cannot let the guest's disk go on");
  _exit(0);
}

}  // namespace guest_init
