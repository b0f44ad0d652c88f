#include "tests/process/vfsd_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"

namespace layerboot::test {

namespace {

constexpr int kReadyFd = 77;
constexpr std::size_t kMaxOutputBytes = 1U << 20;

}  // namespace

VfsdProcess::VfsdProcess(std::vector<std::string> arguments, const std::filesystem::path& cache_home,
                         int inherited, const char* program)
    : output_(::memfd_create("vfsd-output", MFD_CLOEXEC)) {
  arguments.insert(arguments.begin(), program);
  arguments.insert(arguments.end(), {"--ready-fd", std::to_string(kReadyFd)});
  std::vector<std::string> environment{"XDG_CACHE_HOME=" + cache_home.string()};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("XDG_CACHE_HOME=")) environment.emplace_back(*variable);
  }
  // In a sanitizer's build: the search for leaks needs /proc and a thread of its own, and the sandbox leaves
  // neither.
  if (std::ranges::find(arguments, "none") == arguments.end())
    environment.emplace_back("LSAN_OPTIONS=detect_leaks=0");
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const UniqueFd ready_end(ends[0]);
  UniqueFd write_end(ends[1]);
  // What a person has typed, say, who started it.
  std::array<int, 2> typed{};
  if (::pipe2(typed.data(), O_CLOEXEC) != 0) return;
  const UniqueFd input(typed[0]);
  UniqueFd typing(typed[1]);
  if (::write(typing.get(), "secret\n", 7) != 7) return;
  typing.reset();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output_.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, output_.get(), 2);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), kReadyFd);
  if (inherited >= 0)
    ::posix_spawn_file_actions_adddup2(&actions, inherited, inherited);  // clears close-on-exec
  const int failed = ::posix_spawn(&pid_, program, &actions, nullptr, exec_pointers(arguments).data(),
                                   exec_pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) pid_ = -1;
  write_end.reset();
  char c = 0;
  while (::read(ready_end.get(), &c, 1) == 1) {
    if (c != '\n' && !ready_) ready_line_ += c;
    ready_ = ready_ || c == '\n';
  }
}

VfsdProcess::~VfsdProcess() {
  if (pid_ < 0) return;
  signal(SIGKILL);
  wait();
}

void VfsdProcess::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

int VfsdProcess::wait() {
  if (pid_ < 0) return exit_code_;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  pid_ = -1;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return exit_code_;
}

std::string VfsdProcess::messages() const {
  std::string text(kMaxOutputBytes, '\0');
  const ssize_t count = ::pread(output_.get(), text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}

}  // namespace layerboot::test
