#include "tests/process/bad_input_support.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"

namespace layerboot::test {

namespace {

constexpr std::size_t kMaxOutputBytes = 1U << 20;

std::string contents(int fd) {
  ::lseek(fd, 0, SEEK_SET);
  return read_all(fd, kMaxOutputBytes).value_or("unreadable");
}

}  // namespace

Ended run_to_end(const std::vector<std::string>& words, const std::filesystem::path& state) {
  std::vector<std::string> environment{"XDG_DATA_HOME=" + (state / "data").string(),
                                       "XDG_CACHE_HOME=" + (state / "cache").string(),
                                       "XDG_RUNTIME_DIR=" + (state / "run").string()};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("XDG_")) environment.emplace_back(*variable);
  }
  const auto argv = exec_pointers(words);
  const auto envp = exec_pointers(environment);
  const UniqueFd out(::memfd_create("out", MFD_CLOEXEC));
  const UniqueFd err(::memfd_create("err", MFD_CLOEXEC));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.get(), 2);
  pid_t pid = -1;
  Ended ended;
  const int failed = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return ended;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  ended.out = contents(out.get());
  ended.err = contents(err.get());
  return ended;
}

}  // namespace layerboot::test
