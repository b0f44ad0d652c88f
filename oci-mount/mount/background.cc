#include "oci-mount/mount/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/base/inherited_descriptors.h"

namespace layerboot::mount {

Result<Background> Background::fork() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("fork");
  return Background(child, child > 0 ? std::move(read_end) : std::move(write_end));
}

int Background::exit_code() {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(pipe_.get(), &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) return 0;
  int status = 0;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

Result<void> Background::ready() {
  if (::setsid() < 0) return errno_error("setsid");
  if (::chdir("/") != 0) return errno_error("chdir");
  LB_ASSIGN(const UniqueFd null, open_path("/dev/null", O_RDWR));
  for (int stream = 0; stream <= 2; ++stream) {
    if (::dup2(null.get(), stream) < 0) return errno_error("dup2");
  }
  close_inherited_descriptors();
  const char word = 1;
  if (::write(pipe_.get(), &word, 1) != 1) return errno_error("write");
  pipe_.reset();
  return {};
}

}  // namespace layerboot::mount
