#include "guest-init/become.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "guest-init/copy_files.h"
#include "guest-init/exit_codes.h"
#include "guest-init/files.h"
#include "guest-init/freeze_upper.h"
#include "guest-init/grow_upper.h"
#include "guest-init/relay.h"
#include "guest-init/session_group.h"
#include "guest-init/users.h"

namespace guest_init {

namespace {

constexpr int kSignals = 64;

[[noreturn]] void give_up(int report, int code, const std::string& text) {
  const std::string message = static_cast<char>(code) + text;
  // To a pipe with room for it; there is nobody else to tell.
  [[maybe_unused]] const ssize_t told = write(report, message.data(), message.size());
  _exit(code);
}

std::string reason() { return std::string(": ") + std::strerror(errno); }

void take_standard_descriptors(const SpawnPlan& plan, const std::array<int, 3>& stdio) {
  setsid();
  for (int standard = 0; standard <= 2; ++standard) dup2(stdio[static_cast<std::size_t>(standard)], standard);
  if (plan.stdio == Stdio::kTerminal || plan.stdio == Stdio::kConsole) ioctl(STDIN_FILENO, TIOCSCTTY, 1);
}

void reset_signals() {
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number <= kSignals; ++number) sigaction(number, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void enter_directory(const SpawnPlan& plan, int report) {
  const std::string directory = plan.directory.empty() ? "/" : plan.directory;
  if (plan.make_directory) make_directories(directory);
  if (chdir(directory.c_str()) != 0) {
    give_up(report, kNotStarted, "cannot enter the directory " + directory + reason());
  }
}

void take_identity(const Identity& identity, int report) {
  if (setgroups(identity.groups.size(), identity.groups.data()) != 0 ||
      setresgid(identity.gid, identity.gid, identity.gid) != 0 ||
      setresuid(identity.uid, identity.uid, identity.uid) != 0) {
    give_up(report, kNotStarted, "cannot become user " + std::to_string(identity.uid) + reason());
  }
}

std::string_view value_of(const std::vector<std::string>& environment, std::string_view name) {
  for (const auto& setting : environment) {
    if (setting.size() > name.size() && setting.starts_with(name) && setting[name.size()] == '=')
      return std::string_view(setting).substr(name.size() + 1);
  }
  return {};
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (const auto& text : texts) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

/// Tries PATH as execvp(3) does. Returns by failing, with errno.
void execute(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  const auto argv = pointers(command);
  const auto envp = pointers(environment);
  const std::string& program = command.front();
  if (program.find('/') != std::string::npos) {
    execve(program.c_str(), argv.data(), envp.data());
    return;
  }
  int error = ENOENT;
  std::string_view path = value_of(environment, "PATH");
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(folder.size() < path.size() ? folder.size() + 1 : path.size());
    const std::string candidate = std::string(folder.empty() ? "." : folder) + "/" + program;
    execve(candidate.c_str(), argv.data(), envp.data());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  errno = error;
}

/// The guest's, as a container engine tells it to what it runs.
std::string host_name() {
  utsname names{};
  return ::uname(&names) == 0 ? names.nodename : "";
}

}  // namespace

void become(const SpawnPlan& plan, std::array<int, 3> stdio, int report) {
  reset_signals();
  take_standard_descriptors(plan, stdio);
  if (plan.grow_bytes != 0) {
    // It may take a while, and the agent waits for what is reported.
    close(report);
    become_growth(plan.grow_bytes, plan.root);
  }
  if (plan.freeze) {
    close(report);
    become_freeze(plan.root);
  }
  umask(022);
  if (fchdir(plan.root) != 0 || chroot(".") != 0)
    give_up(report, kNotStarted, "cannot enter the root" + reason());
  if (plan.own_group) enter_session_group();
  if (plan.copy) {
    // As with growing; and as root, whoever the image's user is. This process stays what it is: without the
    // agent's descriptors, among them the other end of its own input.
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
    _exit(plan.copy->in ? copy_in(*plan.copy) : copy_out(*plan.copy));
  }
  Identity identity;
  std::string why;
  if (!find_identity(plan.user, read_text("/etc/passwd"), read_text("/etc/group"), identity, why)) {
    give_up(report, kNotStarted, why);
  }
  enter_directory(plan, report);
  if (plan.stdio == Stdio::kTerminal) fchown(STDIN_FILENO, identity.uid, static_cast<gid_t>(-1));
  take_identity(identity, report);
  if (!plan.connect.empty()) become_relay(plan.connect, report);
  auto environment = plan.environment;
  if (value_of(environment, "HOME").empty()) environment.push_back("HOME=" + identity.home);
  if (value_of(environment, "HOSTNAME").empty()) environment.push_back("HOSTNAME=" + host_name());
  if (plan.command.empty() || plan.command.front().empty()) {
    give_up(report, kNotFound, "the image names no command, and none was given");
  }
  execute(plan.command, environment);
  const int code = errno == ENOENT || errno == ENOTDIR ? kNotFound : kNotRunnable;
  give_up(report, code, plan.command.front() + reason());
}

}  // namespace guest_init
