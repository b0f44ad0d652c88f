#include "oci-mount/base/standard_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

#include "oci-mount/base/log.h"

namespace layerboot {

namespace {

bool reader_is_gone() {
  pollfd stream{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  return ::poll(&stream, 1, 0) > 0 && (stream.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace

void open_closed_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // It is the lowest that is free. Kept across exec, as a stream is.
    if (::open("/dev/null", O_RDWR) != fd) ::_exit(1);  // NOLINT(android-cloexec-open)
  }
}

int status_with_output(int status) {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  const int code = errno;
  if ((flushed && std::ferror(stdout) == 0) || reader_is_gone()) return status;
  // What failed before is known to have, and no longer why.
  log_error("cannot write all of the output: ",
            flushed || code == 0 ? "standard output failed" : std::strerror(code));
  return status == 0 ? 1 : status;
}

int run_to_end(std::string_view program, const std::function<int()>& run) {
  log_setup(program, LogLevel::kInfo);
  int status = 1;
  try {
    status = run();
  } catch (const std::exception& error) {
    // No memory, or a fault of ours.
    log_error("given up: ", error.what());
  }
  return status_with_output(status);
}

}  // namespace layerboot
