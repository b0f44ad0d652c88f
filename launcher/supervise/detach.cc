#include "launcher/supervise/detach.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "oci-mount/base/files.h"
#include "oci-mount/base/inherited_descriptors.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxShownBytes = std::size_t{1} << 20;
constexpr std::string_view kStarted = "started\n";
/// PIPE_BUF, which is written as one or not at all.
constexpr std::size_t kMaxWhyBytes = 4096;

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
  close_inherited_descriptors();
  if (::write(pipe_.get(), kStarted.data(), kStarted.size()) < 0) {
    return errno_error("nobody waits for the VM any more");
  }
  pipe_.reset();
  return {};
}

void Detachment::failed(const Error& why) {
  if (!pipe_) return;
  const std::string text = why.text.substr(0, kMaxWhyBytes);
  [[maybe_unused]] const auto told = ::write(pipe_.get(), text.data(), text.size());
  pipe_.reset();
}

Result<void> Detachment::wait_started() {
  std::string told(kMaxWhyBytes, '\0');
  ssize_t got = 0;
  do {
    got = ::read(pipe_.get(), told.data(), told.size());
  } while (got < 0 && errno == EINTR);
  told.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  if (told == kStarted) return {};
  // Its last words are in the log when it has ended, not before.
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  ::lseek(log_.get(), 0, SEEK_SET);
  const std::string log = read_all(log_.get(), kMaxShownBytes).value_or("");
  const std::string shown = printable_lines(log);
  std::fwrite(shown.data(), 1, shown.size(), stderr);
  if (!told.empty() && !log.contains(told)) return std::unexpected(Error{EIO, told});
  if (log.empty()) return fail(EIO, "the VM ended before it ran, and its log is empty: is the disk full?");
  return std::unexpected(Error{EIO, {}});
}

}  // namespace layerboot::launcher
