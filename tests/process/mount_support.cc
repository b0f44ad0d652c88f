#include "tests/process/mount_support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"

namespace layerboot::test {

namespace {

constexpr std::size_t kMaxOutputBytes = 256U << 20;

pid_t spawn(std::vector<std::string> words, const std::filesystem::path& cache_home, int out_fd, int err_fd) {
  const auto argv = exec_pointers(words);
  std::string cache = "XDG_CACHE_HOME=" + cache_home.string();
  std::vector<char*> environment{cache.data()};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::string_view(*variable).starts_with("XDG_CACHE_HOME=")) continue;
    environment.push_back(*variable);
  }
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
  ::posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  return failed == 0 ? pid : -1;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::string contents(int fd) {
  ::lseek(fd, 0, SEEK_SET);
  return read_all(fd, kMaxOutputBytes).value_or("unreadable");
}

}  // namespace

Outcome run_program(const std::vector<std::string>& words, const std::filesystem::path& cache_home,
                    int out_fd) {
  const UniqueFd out(::memfd_create("out", MFD_CLOEXEC));
  const UniqueFd err(::memfd_create("err", MFD_CLOEXEC));
  Outcome outcome;
  const pid_t pid = spawn(words, cache_home, out_fd >= 0 ? out_fd : out.get(), err.get());
  if (pid < 0) {
    outcome.err = "cannot start " + words[0];
    return outcome;
  }
  outcome.exit_code = wait_for(pid);
  outcome.out = contents(out.get());
  outcome.err = contents(err.get());
  return outcome;
}

pid_t start_program(const std::vector<std::string>& words, const std::filesystem::path& cache_home) {
  const UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  return spawn(words, cache_home, nowhere.get(), nowhere.get());
}

StrayDescriptor::StrayDescriptor() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  read_end_ = UniqueFd(ends[0]);
  write_end_ = UniqueFd(ends[1]);
  ::fcntl(write_end_.get(), F_SETFD, 0);
}

bool StrayDescriptor::is_let_go() {
  constexpr int kPatienceMs = 20'000;
  write_end_.reset();
  pollfd end{read_end_.get(), POLLIN, 0};
  return ::poll(&end, 1, kPatienceMs) == 1;
}

Mounted::Mounted(std::vector<std::string> arguments, const std::filesystem::path& cache_home,
                 std::filesystem::path mountpoint)
    : mountpoint_(std::move(mountpoint)) {
  std::vector<std::string> words{LAYERBOOT_OCI_MOUNT, "mount", "--foreground"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  words.push_back(mountpoint_.string());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  messages_fd_ = UniqueFd(ends[0]);
  UniqueFd write_end(ends[1]);
  pid_ = spawn(words, cache_home, write_end.get(), write_end.get());
  write_end.reset();
  // "… is mounted on …", or the end of the program.
  char c = 0;
  while (messages_.find("is mounted on") == std::string::npos && ::read(messages_fd_.get(), &c, 1) == 1)
    messages_ += c;
}

Mounted::~Mounted() {
  if (pid_ > 0) stop(SIGTERM);
  // Not asked first whether it is there: of who was killed it can't be told.
  ::umount2(mountpoint_.c_str(), MNT_DETACH);
}

int Mounted::wait() {
  if (pid_ > 0) {
    exit_code_ = wait_for(std::exchange(pid_, -1));
    messages_ += read_all(messages_fd_.get(), kMaxOutputBytes).value_or("");
  }
  return exit_code_;
}

int Mounted::stop(int signal) {
  if (pid_ > 0) ::kill(pid_, signal);
  return wait();
}

bool is_mountpoint(const std::filesystem::path& directory) {
  struct stat here{};
  struct stat above{};
  if (::lstat(directory.c_str(), &here) != 0) return errno == ENOTCONN;  // a mount whose server is gone
  if (::lstat(directory.parent_path().c_str(), &above) != 0) return false;
  return here.st_dev != above.st_dev;
}

std::string why_no_fuse() {
  if (::access("/dev/fuse", R_OK | W_OK) == 0) return {};
  return "there is no /dev/fuse that this user may open: nothing can be mounted here";
}

}  // namespace layerboot::test
