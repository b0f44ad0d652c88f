#include "launcher/host/child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "launcher/host/pidfd.h"
#include "launcher/host/signals.h"
#include "oci-mount/base/exec_pointers.h"

namespace layerboot::launcher {

namespace {

/// Everything the child needs, made before fork: after it only system calls are allowed.
struct Prepared {
  std::vector<char*> argv;
  std::vector<UniqueFd> inherited;  // all above the numbers they are moved to
  UniqueFd null_device;
  UniqueFd error_pipe;
  int death_signal = SIGTERM;
  UniqueFd output;  // standard output and error; none: our error
  int apart_from = 0;
  pid_t parent = 0;  // as the child sees it
};

Result<UniqueFd> duplicate_above(int fd, int lowest) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
  if (!copy) return errno_error("cannot duplicate a descriptor");
  return copy;
}

/// In the child, and only there. Returns only by failing, with errno set.
void become(const Prepared& prepared) {
  if (::prctl(PR_SET_PDEATHSIG, prepared.death_signal) != 0) return;
  // The parent may have died before prctl took effect.
  if (::getppid() != prepared.parent) ::_exit(127);
  if (prepared.apart_from != 0 && ::unshare(prepared.apart_from) != 0) return;
  ::setsid();
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) {
    ::sigaction(number, &standard, nullptr);
  }
  restore_idle_signals();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(prepared.null_device.get(), STDIN_FILENO) < 0) return;
  if (prepared.output && ::dup2(prepared.output.get(), STDERR_FILENO) < 0) return;
  if (::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return;
  int number = kFirstInheritedFd;
  for (const UniqueFd& fd : prepared.inherited) {
    if (::dup2(fd.get(), number++) < 0) return;
  }
  // Also what a careless parent of ours left open; the error pipe must live until exec.
  if (::syscall(SYS_close_range, number, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return;
  ::execvp(prepared.argv.front(), prepared.argv.data());
}

/// What the child reported before exec: 0 when it became the program.
int read_exec_error(int pipe_fd) {
  int code = 0;
  ssize_t got = 0;
  do {
    got = ::read(pipe_fd, &code, sizeof(code));
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof(code)) ? code : 0;
}

}  // namespace

bool can_be_apart(int namespaces) {
  const pid_t trial = ::fork();
  if (trial == 0) ::_exit(::unshare(namespaces) == 0 ? 0 : 1);
  int status = 1;
  while (trial > 0 && ::waitpid(trial, &status, 0) < 0 && errno == EINTR) {
  }
  return trial > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string ExitStatus::describe() const {
  if (!signaled) return str_cat("exit status ", value);
  return str_cat("signal ", value, " (", std::string_view(::strsignal(value)), ")");
}

Result<Child> Child::spawn(const ChildSpec& spec, const std::vector<int>& inherited) {
  Prepared prepared;
  prepared.death_signal = spec.death_signal;
  prepared.apart_from = spec.apart_from;
  std::optional<PidNamespace> pid_namespace;
  if (spec.own_pid_namespace) {
    LB_ASSIGN(pid_namespace, PidNamespace::make());
  }
  prepared.parent = pid_namespace ? 0 : ::getpid();
  prepared.argv = exec_pointers(spec.argv);
  const int first_free = kFirstInheritedFd + static_cast<int>(inherited.size());
  for (const int fd : inherited) {
    LB_ASSIGN(UniqueFd copy, duplicate_above(fd, first_free));
    prepared.inherited.push_back(std::move(copy));
  }
  UniqueFd null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_device) return errno_error("cannot open /dev/null");
  LB_ASSIGN(prepared.null_device, duplicate_above(null_device.get(), first_free));
  if (const int output = spec.quiet ? null_device.get() : spec.output; output >= 0) {
    LB_ASSIGN(prepared.output, duplicate_above(output, first_free));
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  LB_ASSIGN(prepared.error_pipe, duplicate_above(write_end.get(), first_free));
  write_end.reset();

  pid_t pid = -1;
  if (pid_namespace) {
    LB_ASSIGN(pid, pid_namespace->fork());
  } else {
    pid = ::fork();
    if (pid < 0) return errno_error("cannot start ", spec.label);
  }
  if (pid == 0) {
    become(prepared);
    const int code = errno;
    [[maybe_unused]] const auto told = ::write(prepared.error_pipe.get(), &code, sizeof(code));
    ::_exit(127);
  }
  prepared.error_pipe.reset();
  Child child(spec.label, pid, std::move(pid_namespace));
  if (const int code = read_exec_error(read_end.get()); code != 0) {
    return fail(code, "cannot start ", spec.argv.front(), ": ", Error{code, {}}.describe());
  }
  LB_ASSIGN(child.pidfd_, open_pidfd(pid));
  return child;
}

Child::Child(Child&& other) noexcept
    : label_(std::move(other.label_)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      pid_namespace_(std::move(other.pid_namespace_)) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this == &other) return *this;
  kill_and_reap();
  label_ = std::move(other.label_);
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::move(other.pidfd_);
  pid_namespace_ = std::move(other.pid_namespace_);
  return *this;
}

Child::~Child() { kill_and_reap(); }

void Child::kill_and_reap() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);  // not reaped yet, so the number is still this process's
  wait();
}

void Child::send(int signal_number) const {
  if (pid_ > 0) ::kill(pid_, signal_number);
}

void Child::leave() {
  pid_ = -1;
  pidfd_.reset();
  if (pid_namespace_) pid_namespace_->leave();
  pid_namespace_.reset();
}

ExitStatus Child::wait() {
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status, 0);
  } while (got < 0 && errno == EINTR);
  pid_ = -1;
  pid_namespace_.reset();
  if (got < 0) return {.signaled = false, .value = 127};
  if (WIFSIGNALED(status)) return {.signaled = true, .value = WTERMSIG(status)};
  return {.signaled = false, .value = WEXITSTATUS(status)};
}

}  // namespace layerboot::launcher
