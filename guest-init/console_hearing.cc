#include "guest-init/console_hearing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "guest-init/files.h"

namespace guest_init {

namespace {

const dev_t kConsoleDevice = makedev(5, 1);

struct CloseDir {
  void operator()(DIR* directory) const { closedir(directory); }
};

/// The terminal that a process has as its own, as Linux's new_encode_dev() has it; 0: none.
unsigned long own_terminal(int proc, const std::string& process) {
  const std::string stat = read_text_at(proc, process + "/stat");
  // What comes after its name, which may hold anything: state, parent, group, session, terminal.
  auto at = stat.rfind(')');
  for (int fields = 0; fields < 5 && at != std::string::npos; ++fields) at = stat.find(' ', at + 1);
  return at == std::string::npos ? 0 : strtoul(stat.c_str() + at, nullptr, 10);
}

unsigned long encoded(dev_t device) {
  return (minor(device) & 0xffU) | major(device) << 8U | (minor(device) & ~0xffU) << 12U;
}

}  // namespace

bool is_heard(int terminal, int proc) {
  struct stat there{};
  const int list = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, CloseDir> processes(list < 0 ? nullptr : fdopendir(list));
  if (!processes || fstat(terminal, &there) != 0) return true;
  bool found_any = false;
  while (const dirent* const one = readdir(processes.get())) {
    const std::string process = one->d_name;
    if (process.find_first_not_of("0123456789") != std::string::npos) continue;
    found_any = true;
    if (process == std::to_string(getpid())) continue;
    if (own_terminal(proc, process) == encoded(there.st_rdev)) return true;
    // By what is known of it: a share's server that does not answer would not, and the agent has one thread.
    struct statx input{};
    if (statx(proc, (process + "/fd/0").c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &input) !=
            0 ||
        !S_ISCHR(input.stx_mode))
      continue;
    const dev_t device = makedev(input.stx_rdev_major, input.stx_rdev_minor);
    if (device == there.st_rdev || device == kConsoleDevice) return true;
  }
  return !found_any;
}

}  // namespace guest_init
