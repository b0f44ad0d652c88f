#include "launcher/supervise/detach.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxShownBytes = std::size_t{1} << 20;

/// In the child.
Result<void> leave_terminal(const UniqueFd& log) {
  const UniqueFd null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_device) return errno_error("cannot open /dev/null");
  ::setsid();
  if (::dup2(null_device.get(), STDIN_FILENO) < 0 || ::dup2(null_device.get(), STDOUT_FILENO) < 0 ||
      ::dup2(log.get(), STDERR_FILENO) < 0) {
    return errno_error("dup2");
  }
  return {};
}

}  // namespace

Result<Detachment> Detachment::split(const std::filesystem::path& log) {
  LB_ASSIGN(UniqueFd file, open_path(log, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, kPrivateFile));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  // What stdio holds back would be written by both.
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("fork");
  if (child > 0) return Detachment(child, std::move(read_end), std::move(file));
  read_end.reset();
  LB_TRY(leave_terminal(file));
  return Detachment(0, std::move(write_end), std::move(file));
}

Result<void> Detachment::started() {
  constexpr std::string_view kStarted = "started\n";
  if (::write(pipe_.get(), kStarted.data(), kStarted.size()) < 0) {
    return errno_error("nobody waits for the VM any more");
  }
  pipe_.reset();
  return {};
}

Result<void> Detachment::wait_started() {
  char buffer[16];
  ssize_t got = 0;
  do {
    got = ::read(pipe_.get(), buffer, sizeof(buffer));
  } while (got < 0 && errno == EINTR);
  if (got > 0) return {};
  // Its last words are in the log when it has ended, not before.
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  ::lseek(log_.get(), 0, SEEK_SET);
  if (const auto text = read_all(log_.get(), kMaxShownBytes)) {
    const std::string shown = printable_lines(*text);
    std::fwrite(shown.data(), 1, shown.size(), stderr);
  }
  return std::unexpected(Error{EIO, {}});
}

}  // namespace layerboot::launcher
