#include "launcher/host/first_process.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace layerboot::launcher {

namespace {

constexpr int kSignalBase = 128;

/// Reaps all that have ended; where `child` is among them this process ends as it did.
void reap(pid_t child) {
  int status = 0;
  for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (ended == child) ::_exit(WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

[[noreturn]] void be_first_process(pid_t child, const sigset_t& signals) {
  for (;;) {
    siginfo_t info{};
    const int number = ::sigwaitinfo(&signals, &info);
    if (number == SIGCHLD) reap(child);
    // What the terminal sends goes to the child as well: it is in the same process group.
    const bool is_sent = info.si_code <= 0;
    if (number > 0 && number != SIGCHLD && is_sent) ::kill(child, number);
  }
}

}  // namespace

Result<void> leave_first_process() {
  if (::getpid() != 1) return {};
  sigset_t signals;
  sigset_t before;
  ::sigfillset(&signals);
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  // What stdio holds back would be written by both.
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("fork");
  if (child > 0) be_first_process(child, signals);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return {};
}

}  // namespace layerboot::launcher
