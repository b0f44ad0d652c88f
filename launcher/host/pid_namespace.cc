#include "launcher/host/pid_namespace.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "launcher/host/pidfd.h"

namespace layerboot::launcher {

namespace {

/// In the keeper, and only there: system calls alone are allowed, as after any fork.
[[noreturn]] void keep(int ready_pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "vm-keeper");
  ::setsid();
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  // It has nothing of ours open: no terminal, no lock, no socket.
  constexpr int kReady = 3;
  if (ready_pipe != kReady && ::dup2(ready_pipe, kReady) < 0) ::_exit(1);
  ::syscall(SYS_close_range, kReady + 1, ~0U, 0);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
  // Nobody reads where we have died before the signal was asked for.
  if (::write(kReady, "", 1) != 1) ::_exit(1);
  ::close(kReady);
  for (;;) ::pause();
}

void end(pid_t keeper) {
  ::kill(keeper, SIGKILL);
  while (::waitpid(keeper, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool hears_ready(int pipe_fd) {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(pipe_fd, &word, 1);
  } while (got < 0 && errno == EINTR);
  return got == 1;
}

}  // namespace

Result<PidNamespace> PidNamespace::make() {
  UniqueFd own(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!own) return errno_error("cannot open /proc/self/ns/pid");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  // As fork(), on a copy of this stack.
  const auto keeper =
      static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (keeper < 0) return errno_error("cannot make a PID namespace");
  if (keeper == 0) keep(write_end.get());
  write_end.reset();
  auto pidfd = open_pidfd(keeper);
  if (!pidfd || !hears_ready(read_end.get())) {
    end(keeper);
    if (!pidfd) return std::unexpected(pidfd.error());
    return fail(ECHILD, "the keeper of a PID namespace has ended");
  }
  return PidNamespace(keeper, std::move(*pidfd), std::move(own));
}

PidNamespace::PidNamespace(PidNamespace&& other) noexcept
    : keeper_(std::exchange(other.keeper_, -1)),
      keeper_pidfd_(std::move(other.keeper_pidfd_)),
      own_(std::move(other.own_)) {}

PidNamespace& PidNamespace::operator=(PidNamespace&& other) noexcept {
  if (this == &other) return *this;
  if (keeper_ > 0) end(keeper_);
  keeper_ = std::exchange(other.keeper_, -1);
  keeper_pidfd_ = std::move(other.keeper_pidfd_);
  own_ = std::move(other.own_);
  return *this;
}

PidNamespace::~PidNamespace() {
  if (keeper_ > 0) end(keeper_);
}

void PidNamespace::leave() {
  if (keeper_ > 0) ::kill(std::exchange(keeper_, -1), SIGKILL);
}

Result<pid_t> PidNamespace::fork() const {
  // Both concern the children to come, not this process.
  if (::setns(keeper_pidfd_.get(), CLONE_NEWPID) != 0) return errno_error("cannot enter a PID namespace");
  const pid_t pid = ::fork();
  if (pid == 0) return 0;
  const int fork_error = errno;
  if (::setns(own_.get(), CLONE_NEWPID) != 0) {
    const Error error = errno_error("cannot leave a PID namespace").error();
    if (pid > 0) end(pid);
    return std::unexpected(error);
  }
  if (pid < 0) return fail(fork_error, "cannot fork into a PID namespace");
  return pid;
}

}  // namespace layerboot::launcher
