#include "oci-mount/base/walled_child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <string_view>
#include <vector>

#include "oci-mount/base/walls.h"

namespace layerboot {

namespace {

constexpr const char* kProgram = "/proc/self/exe";
constexpr const char* kNull = "/dev/null";
/// Above what the child has, so that none is overwritten on its way to its place.
constexpr int kFirstSpareFd = 16;

/// Of ours the child gets what the loader and a sanitizer's library read, and no secrets.
std::vector<char*> environment() {
  std::vector<char*> kept;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view one(*at);
    if (one.starts_with("LD_") || one.substr(0, one.find('=')).ends_with("SAN_OPTIONS")) kept.push_back(*at);
  }
  kept.push_back(nullptr);
  return kept;
}

/// What the child is started with.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
      ::posix_spawn_file_actions_addopen(&actions_, fd, kNull, O_RDWR, 0);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes_, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes_, &signals);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  Result<void> give(int fd) {
    UniqueFd made(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstSpareFd));
    if (!made) return errno_error("a descriptor for a child process");
    ::posix_spawn_file_actions_adddup2(&actions_, made.get(), next_fd_++);
    spares_.push_back(std::move(made));
    return {};
  }
  Result<pid_t> start(std::string name, std::string argument) {
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, next_fd_);
    const std::array<char*, 3> words{name.data(), argument.data(), nullptr};
    const std::vector<char*> environment_kept = environment();
    pid_t child = -1;
    const int error =
        ::posix_spawn(&child, kProgram, &actions_, &attributes_, words.data(), environment_kept.data());
    if (error != 0)
      return fail(error, "cannot start ", name, " (", kProgram, "): ", Error{error, {}}.describe());
    return child;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
  std::vector<UniqueFd> spares_;
  int next_fd_ = kFirstChildFd;
};

}  // namespace

Result<WalledChild> WalledChild::start(const Plan& plan, std::initializer_list<int> descriptors) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, plan.socket_type | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return errno_error("socketpair");
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  SpawnPlan spawn;
  for (const int fd : descriptors) LB_TRY(spawn.give(fd));
  LB_TRY(spawn.give(theirs.get()));
  LB_ASSIGN(const pid_t pid, spawn.start(plan.name, plan.argument));
  return WalledChild(pid, std::move(ours));
}

WalledChild::~WalledChild() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  await();
}

WalledChild::End WalledChild::await() {
  int status = 0;
  rusage usage{};
  while (::wait4(pid_, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  End end;
  end.cpu_seconds = static_cast<std::uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (end.exit_code > kSignalExitCode) end.signal = end.exit_code - kSignalExitCode;
  return end;
}

std::string how_it_broke_down(const WalledChild::End& end) {
  if (end.signal == SIGKILL || end.signal == SIGTERM || end.signal == SIGINT)
    return "was killed; if nobody did, the host was short of memory";
  if (end.signal == SIGSYS) return "did what reading does not take, and was stopped; it may be an attack";
  if (end.signal == 0) return "ended without a word; it may be an attack, and this is worth a report";
  return str_cat("broke down (", ::sigdescr_np(end.signal),
                 "); it may be an attack, and this is worth a report");
}

}  // namespace layerboot
