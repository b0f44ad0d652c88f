#include "launcher/host/run_tool.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "launcher/host/pidfd.h"
#include "launcher/host/signals.h"
#include "launcher/host/tool_view.h"
#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/interrupt.h"
#include "oci-mount/base/pipe.h"

namespace layerboot::launcher {

namespace {

constexpr int kTickMs = 200;
constexpr std::size_t kErrorTailBytes = 2000;

sigset_t interrupt_set() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kInterruptSignals) sigaddset(&set, number);
  return set;
}

/// What the child needs, ready before fork: between fork and exec only async-signal-safe calls are made.
struct Prepared {
  std::vector<char*> argv;
  std::vector<char*> env;
  std::string path_env;
  std::string program;
  std::string directory;
  int null_fd;
  int out_fd;
  int err_fd;
  unsigned user;
  bool sees_input_only;
  int status_fd;  // close-on-exec; gets errno when exec fails
};

std::string search_path() {
  const char* path = std::getenv("PATH");
  // An ordinary user's PATH often lacks the sbin directories, where depmod is.
  return str_cat(path ? path : "/usr/local/bin:/usr/bin:/bin", ":/usr/sbin:/sbin");
}

/// The file to execute, or the name itself when it is a path or is nowhere.
std::string find_program(const std::string& name, std::string_view path) {
  if (name.find('/') != std::string::npos) return name;
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(folder.size() < path.size() ? folder.size() + 1 : path.size());
    if (folder.empty()) continue;
    std::string candidate = str_cat(folder, '/', name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return name;
}

/// Of the namespaces what there is: not every machine lets us make them.
bool become_user(unsigned user, pid_t parent) {
  ::unshare(CLONE_NEWNET);
  ::unshare(CLONE_NEWIPC);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(user, user, user) != 0 ||
      ::setresuid(user, user, user) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return false;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // lost with the user
  return ::getppid() == parent;
}

[[noreturn]] void become_tool(const Prepared& tool, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  restore_idle_signals();
  const sigset_t interrupts = interrupt_set();
  ::sigprocmask(SIG_UNBLOCK, &interrupts, nullptr);
  const bool ready = (tool.directory.empty() || ::chdir(tool.directory.c_str()) == 0) &&
                     ::dup2(tool.null_fd, STDIN_FILENO) >= 0 && ::dup2(tool.out_fd, STDOUT_FILENO) >= 0 &&
                     ::dup2(tool.err_fd, STDERR_FILENO) >= 0 &&
                     (tool.user == 0 || ((!tool.sees_input_only || see_programs_and_input_only()) &&
                                         become_user(tool.user, parent)));
  // What a careless parent of ours left open, a directory above all; the status pipe must live until exec.
  if (ready && ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
    ::execve(tool.program.c_str(), tool.argv.data(), tool.env.data());
  const int code = errno;
  [[maybe_unused]] const auto put = ::write(tool.status_fd, &code, sizeof(code));
  ::_exit(127);
}

/// A running tool; killed with its group and reaped when dropped early.
class Running {
 public:
  Running(pid_t pid, std::chrono::milliseconds patience) : pid_(pid), patience_(patience) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (pid_ <= 0) return;
    if (patience_.count() > 0) ask_to_end();
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    reap();
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  void ask_to_end() const {
    const auto pidfd = open_pidfd(pid_);
    if (!pidfd) return;
    ::kill(-pid_, SIGTERM);
    pollfd end{pidfd->get(), POLLIN, 0};
    [[maybe_unused]] const int ended = ::poll(&end, 1, static_cast<int>(patience_.count()));
  }

  pid_t pid_;
  std::chrono::milliseconds patience_;
};

/// Waits for its end, which a tool that has closed its outputs, or never had pipes for them, is not yet at.
Result<int> wait_for_end(Running& running, const ToolSpec& spec) {
  LB_ASSIGN(const UniqueFd pidfd, open_pidfd(running.pid()));
  for (;;) {
    LB_TRY(InterruptScope::check());
    pollfd end{pidfd.get(), POLLIN, 0};
    const int ready = ::poll(&end, 1, kTickMs);
    if (ready < 0 && errno != EINTR) return errno_error("poll");
    if (ready > 0) return running.reap();
    if (spec.on_tick) spec.on_tick();
  }
}

/// Takes what is there; false at the end of the pipe.
Result<bool> drain(int fd, std::string& into) {
  char piece[16 * 1024];
  const ssize_t got = ::read(fd, piece, sizeof(piece));
  if (got < 0 && errno == EINTR) return true;
  if (got < 0) return errno_error("read of a tool's output");
  into.append(piece, static_cast<std::size_t>(got));
  return got > 0;
}

/// Reads both pipes until the tool has closed them.
Result<void> collect(const ToolSpec& spec, int out_fd, int err_fd, std::string& out, std::string& err) {
  std::array<pollfd, 2> polls = {pollfd{out_fd, POLLIN, 0}, pollfd{err_fd, POLLIN, 0}};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    LB_TRY(InterruptScope::check());
    const int ready = ::poll(polls.data(), polls.size(), kTickMs);
    if (ready < 0 && errno != EINTR) return errno_error("poll");
    if (ready <= 0) {
      if (spec.on_tick) spec.on_tick();
      continue;
    }
    for (std::size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) continue;
      LB_ASSIGN(const bool more, drain(polls[i].fd, i == 0 ? out : err));
      if (!more) polls[i].fd = -1;
    }
    if (out.size() > kMaxToolOutputBytes) return fail(E2BIG, spec.argv[0], " prints too much");
    if (err.size() > 2 * kErrorTailBytes) err.erase(0, err.size() - kErrorTailBytes);
  }
  return {};
}

std::string tail_of(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.size() > kErrorTailBytes) text.erase(0, text.size() - kErrorTailBytes);
  return text;
}

}  // namespace

InterruptScope::InterruptScope() {
  const sigset_t interrupts = interrupt_set();
  ::pthread_sigmask(SIG_BLOCK, &interrupts, &previous_mask_);
}

InterruptScope::~InterruptScope() { ::pthread_sigmask(SIG_SETMASK, &previous_mask_, nullptr); }

// Left pending: each check on the way out sees it, and it is delivered when the outermost scope ends.
Result<void> InterruptScope::check() { return check_interrupted(); }

Result<std::string> run_tool(const ToolSpec& spec) {
  const InterruptScope interrupts;
  LB_TRY(InterruptScope::check());
  LB_ASSIGN(auto out_pipe, make_pipe());
  LB_ASSIGN(auto err_pipe, make_pipe());
  LB_ASSIGN(auto status_pipe, make_pipe());
  LB_ASSIGN(const UniqueFd null_fd, open_path("/dev/null", O_RDONLY));
  UniqueFd file;
  if (!spec.output_file.empty()) {
    LB_ASSIGN(file, open_path(spec.output_file, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  }

  Prepared tool;
  tool.path_env = str_cat("PATH=", search_path());
  tool.program = find_program(spec.argv.at(0), std::string_view(tool.path_env).substr(5));
  tool.directory = spec.working_directory.string();
  tool.argv = exec_pointers(spec.argv);
  static char locale[] = "LC_ALL=C.UTF-8";
  for (char** entry = environ; spec.user == 0 && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "PATH=", 5) != 0 && std::strncmp(*entry, "LC_ALL=", 7) != 0)
      tool.env.push_back(*entry);
  }
  tool.env.insert(tool.env.end(), {tool.path_env.data(), locale, nullptr});
  tool.null_fd = spec.input >= 0 ? spec.input : null_fd.get();
  tool.out_fd = file ? file.get() : spec.shows_all ? STDERR_FILENO : out_pipe.write_end.get();
  tool.err_fd = spec.shows_all ? STDERR_FILENO : err_pipe.write_end.get();
  tool.user = spec.user;
  tool.sees_input_only = spec.sees_input_only;
  tool.status_fd = status_pipe.write_end.get();

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("cannot start ", spec.argv[0]);
  if (pid == 0) become_tool(tool, parent);
  Running running(pid, spec.patience);
  out_pipe.write_end.reset();
  err_pipe.write_end.reset();
  status_pipe.write_end.reset();

  int exec_error = 0;
  if (::read(status_pipe.read_end.get(), &exec_error, sizeof(exec_error)) == sizeof(exec_error)) {
    if (exec_error == ENOENT) {
      return fail(ENOENT, "cannot run ", spec.argv[0],
                  ": it is not installed (./dev setup installs what is needed)");
    }
    return fail(exec_error, "cannot run ", spec.argv[0], ": ", Error{exec_error, {}}.describe());
  }
  if (spec.on_start) spec.on_start(pid);
  std::string out;
  std::string err;
  LB_TRY(collect(spec, out_pipe.read_end.get(), err_pipe.read_end.get(), out, err));
  LB_ASSIGN(const int status, wait_for_end(running, spec));
  if (WIFSIGNALED(status)) return fail(EIO, spec.argv[0], " was killed by signal ", WTERMSIG(status));
  if (spec.messages != nullptr) *spec.messages = tail_of(err);
  if (spec.exit_status != nullptr) {
    *spec.exit_status = WEXITSTATUS(status);
    return out;
  }
  if (WEXITSTATUS(status) != 0 && spec.shows_all)
    return fail(EIO, spec.argv[0], " failed with exit status ", WEXITSTATUS(status));
  if (WEXITSTATUS(status) != 0) {
    return fail(EIO, spec.argv[0], " failed with exit status ", WEXITSTATUS(status), ": ",
                tail_of(std::move(err)));
  }
  return out;
}

Result<std::string> run_tool(std::vector<std::string> argv) {
  ToolSpec spec;
  spec.argv = std::move(argv);
  return run_tool(spec);
}

}  // namespace layerboot::launcher
