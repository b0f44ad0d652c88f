#include "guest-init/getty_keeper.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <string>
#include <vector>

#include "guest-init/console.h"

namespace guest_init {

namespace {

constexpr const char* kLine = "ttyS0";
constexpr const char* kDevice = "/dev/ttyS0";
constexpr std::array<const char*, 2> kInits = {"openrc-init", "runit-init"};
/// Where their services are, and where runlevels of theirs are.
constexpr std::array<const char*, 5> kServices = {"etc/runlevels/boot", "etc/runlevels/default",
                                                  "etc/runit/runsvdir/default", "etc/service", "var/service"};

bool names_line(int root, const char* folder) {
  const int directory = openat(root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = directory < 0 ? nullptr : fdopendir(directory);
  if (!stream) return false;
  bool found = false;
  while (const dirent* entry = readdir(stream))
    found = found || std::string_view(entry->d_name).find(kLine) != std::string_view::npos;
  closedir(stream);
  return found;
}

std::vector<const char*> getty_words(bool autologin) {
  for (const char* agetty : {"/sbin/agetty", "/usr/sbin/agetty"}) {
    if (access(agetty, X_OK) != 0) continue;
    if (autologin) return {agetty, "--autologin", "root", "--keep-baud", "115200,38400,9600", kLine, "vt220"};
    return {agetty, "--keep-baud", "115200,38400,9600", kLine, "vt220"};
  }
  if (autologin && access("/bin/login", X_OK) == 0) return {"/bin/login", "-f", "root"};
  for (const char* getty : {"/sbin/getty", "/usr/sbin/getty"}) {
    if (access(getty, X_OK) == 0) return {getty, "-L", "115200", kLine, "vt220"};
  }
  return {};
}

void run_getty(std::vector<const char*> words) {
  const pid_t pid = fork();
  if (pid != 0) {
    while (pid > 0 && waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
    return;
  }
  setsid();
  const int line = open(kDevice, O_RDWR | O_CLOEXEC);
  if (line < 0) _exit(1);
  for (int standard = 0; standard <= 2; ++standard) dup2(line, standard);
  ioctl(STDIN_FILENO, TIOCSCTTY, 1);
  words.push_back(nullptr);
  execv(words[0], const_cast<char* const*>(words.data()));
  _exit(127);
}

}  // namespace

bool needs_getty_keeper(int root, std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  bool known = false;
  for (const char* init : kInits) known = known || path == init;
  if (!known) return false;
  for (const char* folder : kServices) {
    if (names_line(root, folder)) return false;
  }
  return true;
}

void keep_getty(bool autologin) {
  const auto words = getty_words(autologin);
  if (words.empty()) return note("no getty on the console: the image has none");
  const pid_t pid = fork();
  if (pid < 0) return note("no getty on the console" + because());
  if (pid > 0) return;
  std::signal(SIGHUP, SIG_IGN);  // for this process alone: a getty sets its own
  for (;;) {
    run_getty(words);
    const timespec pause{1, 0};
    nanosleep(&pause, nullptr);
  }
}

}  // namespace guest_init
