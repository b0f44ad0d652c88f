#include "launcher/supervise/janitor.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <utility>

#include "launcher/vm/last_run.h"
#include "oci-mount/base/file_lock.h"

namespace layerboot::launcher {

namespace {

// A killed process's lock and pipe go one after the other.
constexpr std::chrono::seconds kLockBound{2};

bool take_lock(const std::filesystem::path& state) {
  const auto file = state / "lock";
  // Held until this process ends. Where there is none, somebody has removed or renamed the VM, and cleaned
  // up: what has its name now, or will have, is another's.
  const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  return fd >= 0 && take_lock_within(fd, kLockBound) && is_still_at(fd, file);
}

/// In the child, to its end.
[[noreturn]] void wait_and_clean(int pipe_fd, const VmPaths& paths, const VmEvent& end) {
  ::setsid();
  ::prctl(PR_SET_NAME, "vm-janitor");
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) std::signal(number, SIG_IGN);
  // Nothing of the launcher's is held: not its lock, not its terminal.
  constexpr int kPipe = 3;
  if (pipe_fd != kPipe && ::dup2(pipe_fd, kPipe) < 0) ::_exit(1);
  ::syscall(SYS_close_range, kPipe + 1, ~0U, 0);
  const int nothing = ::open("/dev/null", O_RDWR);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (nothing < 0 || ::dup2(nothing, fd) < 0) ::close(fd);
  }
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(kPipe, &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 0 && take_lock(paths.state)) {
    std::error_code ignored;
    std::filesystem::remove_all(paths.runtime, ignored);  // sockets, and nothing else
    const auto run = load_last_run(paths.last_run());
    if (run && *run && !(*run)->ended) note_event(paths.event_log, end);
  }
  ::_exit(0);
}

}  // namespace

Result<Janitor> Janitor::start(const VmPaths& paths, const VmEvent& end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork");
  if (pid == 0) wait_and_clean(read_end.get(), paths, end);
  return Janitor(pid, std::move(write_end));
}

Janitor::Janitor(Janitor&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pipe_(std::move(other.pipe_)) {}

Janitor::~Janitor() {
  if (pid_ < 0) return;
  // A word means that there is nothing to do; were it lost, what is done would do no harm.
  [[maybe_unused]] const auto sent = ::write(pipe_.get(), "!", 1);
  pipe_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace layerboot::launcher
