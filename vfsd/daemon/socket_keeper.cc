#include "vfsd/daemon/socket_keeper.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "oci-mount/base/pipe.h"
#include "oci-mount/base/sanitizers.h"
#include "vfsd/daemon/capabilities.h"
#include "vfsd/daemon/seccomp.h"

namespace layerboot::vfsd {

namespace {

/// Of `kept` and what else is open: only `kept`, which becomes 0, 1, 2 and so on.
bool keep_descriptors(std::vector<int>& kept) {
  const int above = static_cast<int>(kept.size()) + 1;
  for (int& fd : kept) {
    fd = ::fcntl(fd, F_DUPFD, above);
    if (fd < 0) return false;
  }
  int number = 0;
  for (int& fd : kept) {
    if (::dup2(fd, number) < 0) return false;
    fd = number++;
  }
  return ::syscall(SYS_close_range, static_cast<unsigned>(number), ~0U, 0) == 0;
}

/// What the child may not do any more.
Result<void> shut_in(SeccompMode mode) {
  if (::chdir("/") != 0) return errno_error("chdir");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error("no_new_privs");
  LB_TRY(keep_only(::geteuid() == 0 ? Rights::kRemoveFiles : Rights::kNone));
  return kSanitizer ? Result<void>() : allow_only_removing_files(mode);
}

/// The child. Its first word, in descriptor 1, is what has gone wrong: nothing.
[[noreturn]] void keep(int alive, int done, std::vector<SocketFile> files, SeccompMode mode) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_NAME, "vfsd-socket");
  std::vector<int> kept{alive, done};
  for (SocketFile& file : files) {
    for (UniqueFd* fd : {&file.directory, &file.file}) kept.push_back(fd->release());
  }
  if (!keep_descriptors(kept)) ::_exit(1);
  auto next = kept.begin() + 2;
  for (SocketFile& file : files) {
    for (UniqueFd* fd : {&file.directory, &file.file}) *fd = UniqueFd(*next++);
  }
  const auto shut = shut_in(mode);
  const auto wrong = static_cast<char>(shut ? 0 : shut.error().code);
  if (::write(kept[1], &wrong, 1) != 1 || !shut) ::syscall(SYS_exit_group, 1);
  char c = 0;
  while (::read(kept[0], &c, 1) > 0) {
  }
  for (const SocketFile& file : files) file.remove();
  ::syscall(SYS_exit_group, 0);
  __builtin_unreachable();
}

}  // namespace

Result<SocketKeeper> SocketKeeper::start(std::vector<SocketFile> files, SeccompMode mode) {
  SocketKeeper keeper;
  if (files.empty()) return keeper;
  LB_ASSIGN(auto alive, make_pipe());
  LB_ASSIGN(auto done, make_pipe());
  const pid_t child = ::fork();
  if (child < 0) return errno_error("cannot start the process that removes the socket at the end");
  if (child == 0) keep(alive.read_end.get(), done.write_end.get(), std::move(files), mode);
  keeper.alive_ = std::move(alive.write_end);
  keeper.done_ = std::move(done.read_end);
  // As long as the child has the listening sockets, too, a daemon that is killed seems to live, and the next
  // one is refused.
  done.write_end.reset();
  char wrong = 0;
  if (::read(keeper.done_.get(), &wrong, 1) != 1) {
    return fail(EIO, "the process that removes the socket at the end did not start");
  }
  if (wrong != 0) {
    return fail(wrong, "the process that removes the socket at the end could not give up its rights: ",
                Error{wrong, {}}.describe(), "; --seccomp none goes without a filter");
  }
  return keeper;
}

SocketKeeper::~SocketKeeper() {
  if (!alive_) return;
  alive_.reset();
  pollfd end{done_.get(), POLLIN, 0};
  ::poll(&end, 1, kPatienceMs);
}

}  // namespace layerboot::vfsd
