#include "guest-init/spawn.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "guest-init/become.h"

namespace guest_init {

namespace {

/// The program's ends, and where it reports why it does not start.
struct ChildEnds {
  std::array<Fd, 3> stdio;
  Fd report;
};

bool make_pipe(Fd& read_end, Fd& write_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  read_end = Fd(ends[0]);
  write_end = Fd(ends[1]);
  return true;
}

void unblock(const Fd& fd) {
  if (fd) fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

bool open_terminal(const SpawnPlan& plan, Spawned& spawned, ChildEnds& ends) {
  // From outside of the image's root, in which our own root directory does not lie.
  spawned.output = Fd(openat(plan.root, "dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!spawned.output) spawned.output = Fd(openat(plan.root, "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!spawned.output) return false;
  int locked = 0;
  ioctl(spawned.output.get(), TIOCSPTLCK, &locked);
  winsize size{};
  size.ws_row = plan.rows;
  size.ws_col = plan.columns;
  ioctl(spawned.output.get(), TIOCSWINSZ, &size);
  Fd slave(ioctl(spawned.output.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return false;
  for (auto& standard : ends.stdio) standard = Fd(fcntl(slave.get(), F_DUPFD_CLOEXEC, 3));
  spawned.input = Fd(fcntl(spawned.output.get(), F_DUPFD_CLOEXEC, 3));
  return ends.stdio[2] && spawned.input;
}

bool open_device(const SpawnPlan& plan, const char* device, ChildEnds& ends) {
  for (auto& standard : ends.stdio) {
    standard = Fd(openat(plan.root, device, O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  return static_cast<bool>(ends.stdio[2]);
}

bool open_stdio(const SpawnPlan& plan, Spawned& spawned, ChildEnds& ends) {
  switch (plan.stdio) {
    case Stdio::kTerminal:
      return open_terminal(plan, spawned, ends);
    case Stdio::kConsole:
      return open_device(plan, "dev/console", ends);
    case Stdio::kNothing:
      return open_device(plan, "dev/null", ends);
    case Stdio::kPipes:
      return make_pipe(ends.stdio[0], spawned.input) && make_pipe(spawned.output, ends.stdio[1]) &&
             make_pipe(spawned.error, ends.stdio[2]);
  }
  return false;
}

/// What the child wrote before it ended; nothing when it became the program.
bool read_failure(const Fd& report, SpawnFailure& failure) {
  std::string bytes;
  char piece[512];
  for (;;) {
    const ssize_t got = read(report.get(), piece, sizeof(piece));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(piece, static_cast<std::size_t>(got));
  }
  if (bytes.empty()) return false;
  failure.code = static_cast<unsigned char>(bytes[0]);
  failure.text = bytes.substr(1);
  return true;
}

void set_variable(std::vector<std::string>& environment, const std::string& setting) {
  const std::size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0) return;
  for (auto& present : environment) {
    if (present.compare(0, equals + 1, setting, 0, equals + 1) == 0) {
      present = setting;
      return;
    }
  }
  environment.push_back(setting);
}

}  // namespace

bool spawn(const SpawnPlan& plan, Spawned& spawned, SpawnFailure& failure) {
  ChildEnds ends;
  Fd report;
  if (!open_stdio(plan, spawned, ends) || !make_pipe(report, ends.report)) {
    failure = {kNotStarted,
               std::string("cannot make its standard input and output: ") + std::strerror(errno)};
    return false;
  }
  const pid_t pid = fork();
  if (pid < 0) {
    failure = {kNotStarted, std::string("cannot start a process: ") + std::strerror(errno)};
    return false;
  }
  if (pid == 0) {
    become(plan, {ends.stdio[0].get(), ends.stdio[1].get(), ends.stdio[2].get()}, ends.report.get());
  }
  ends = ChildEnds();
  if (read_failure(report, failure)) {
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
    return false;
  }
  spawned.pid = pid;
  // Fails for a child that is gone and reaped by somebody else only: not before we wait for it.
  spawned.pidfd = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  for (const Fd* fd : {&spawned.input, &spawned.output, &spawned.error}) unblock(*fd);
  return true;
}

SpawnPlan plan_session(const ImageWorkload& image, const SessionRequest& request, int root) {
  SpawnPlan plan;
  plan.root = root;
  plan.stdio = request.terminal ? Stdio::kTerminal : Stdio::kPipes;
  plan.command = request.main ? main_command(image, request) : request.arguments;
  plan.connect = request.connect;
  plan.grow_bytes = request.grow_bytes;
  plan.freeze = request.freeze;
  plan.copy = request.copy;
  if (request.detached) plan.stdio = Stdio::kNothing;
  plan.user = request.user.empty() ? image.user : request.user;
  plan.directory = request.directory.empty() ? image.directory : request.directory;
  // As runtimes do for the image's own command; a person who mistypes a directory wants to hear of it.
  plan.make_directory = request.main;
  plan.rows = request.rows;
  plan.columns = request.columns;
  set_variable(plan.environment, kDefaultPath);
  if (request.terminal) set_variable(plan.environment, "TERM=xterm");
  for (const auto& setting : image.environment) set_variable(plan.environment, setting);
  for (const auto& setting : request.environment) set_variable(plan.environment, setting);
  return plan;
}

}  // namespace guest_init
