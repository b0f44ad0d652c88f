#include "guest-init/shell.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/exit_codes.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/power_button.h"

namespace guest_init {

namespace {

constexpr const char* kBusybox = "/bin/busybox";

/// The terminal behind /dev/console, which itself can't be a controlling terminal: the last one listed.
std::string console_terminal() {
  std::string active = read_text("/sys/class/tty/console/active");
  while (!active.empty() && (active.back() == '\n' || active.back() == ' ')) active.pop_back();
  return "/dev/" + (active.empty() ? "console" : active.substr(active.rfind(' ') + 1));
}

[[noreturn]] void become_shell(const std::string& program, const std::string& terminal) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setsid();
  const int fd = open(terminal.c_str(), O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    ioctl(fd, TIOCSCTTY, 1);
    for (int standard = 0; standard <= 2; ++standard) dup2(fd, standard);
  }
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  setenv("HOME", "/root", 0);
  setenv("TERM", "vt220", 0);
  // argv[0] of busybox names the applet.
  const char* name = program == kBusybox ? "sh" : program.c_str();
  execl(program.c_str(), name, static_cast<char*>(nullptr));
  _exit(kNotFound);
}

/// Waits for `child`, reaping orphans, and heeds what asks for the machine's end: signals to PID 1, and the
/// power button, which nobody else hears by now.
int wait_for(pid_t child, const sigset_t& signals) {
  const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  PowerButton button;
  button.open(root.get());
  const Fd heard(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  for (;;) {
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
      if (ended == child) return status;
    }
    if (ended < 0 && errno == ECHILD) return 0;
    std::vector<pollfd> polls = {{heard.get(), POLLIN, 0}};
    button.add_polls(polls);
    poll(polls.data(), polls.size(), -1);
    signalfd_siginfo signal{};
    while (read(heard.get(), &signal, sizeof(signal)) > 0) {
      if (signal.ssi_signo == SIGUSR1 || signal.ssi_signo == SIGUSR2) power_off();
      if (signal.ssi_signo == SIGTERM) restart();
    }
    if (button.pressed()) {
      say("power button: powering off");
      power_off();
    }
  }
}

}  // namespace

bool run_shell(const std::string& program) {
  sigset_t signals;
  sigset_t previous;
  sigemptyset(&signals);
  for (const int number : {SIGCHLD, SIGUSR1, SIGUSR2, SIGTERM}) sigaddset(&signals, number);
  sigprocmask(SIG_BLOCK, &signals, &previous);
  const std::string terminal = console_terminal();
  const pid_t child = fork();
  if (child == 0) become_shell(program, terminal);
  const int status = child > 0 ? wait_for(child, signals) : kNotFound << 8;
  sigprocmask(SIG_SETMASK, &previous, nullptr);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == kNotFound);
}

bool run_recovery_shell() {
  if (access(kBusybox, X_OK) != 0) {
    say("no recovery shell: this initrd was made without busybox (install busybox-static on the host)");
    return false;
  }
  const pid_t child = fork();
  if (child == 0) {
    execl(kBusybox, "busybox", "--install", "-s", "/bin", static_cast<char*>(nullptr));
    _exit(kNotFound);
  }
  if (child > 0) waitpid(child, nullptr, 0);
  say("recovery shell; the root is not mounted. `exit` goes on booting, `poweroff` powers off.");
  if (run_shell(kBusybox)) return true;
  say("the recovery shell did not start");
  return false;
}

}  // namespace guest_init
