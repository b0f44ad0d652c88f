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

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/serial_console.h"

namespace guest_init {

namespace {

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
    found = found || std::string_view(entry->d_name).find(kSerialConsole) != std::string_view::npos;
  closedir(stream);
  return found;
}

bool is_program(int root, const char* path) { return faccessat(root, path + 1, X_OK, 0) == 0; }

void run_getty(const std::vector<std::string>& words) {
  const pid_t pid = fork();
  if (pid != 0) {
    while (pid > 0 && waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
    return;
  }
  setsid();
  const int line = open(("/dev/" + std::string(kSerialConsole)).c_str(), O_RDWR | O_CLOEXEC);
  if (line < 0) _exit(1);
  for (int standard = 0; standard <= 2; ++standard) dup2(line, standard);
  ioctl(STDIN_FILENO, TIOCSCTTY, 1);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

std::vector<std::string> getty_words(int root, std::string_view console, bool autologin) {
  const std::string line(console);
  for (const char* agetty : {"/sbin/agetty", "/usr/sbin/agetty"}) {
    if (!is_program(root, agetty)) continue;
    if (autologin) return {agetty, "--autologin", "root", "--keep-baud", "115200,38400,9600", line, "vt220"};
    return {agetty, "--keep-baud", "115200,38400,9600", line, "vt220"};
  }
  if (autologin && is_program(root, "/bin/login")) return {"/bin/login", "-f", "root"};
  for (const char* getty : {"/sbin/getty", "/usr/sbin/getty"}) {
    if (is_program(root, getty)) return {getty, "-L", "115200", line, "vt220"};
  }
  return {};
}

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
  const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto words = getty_words(root.get(), kSerialConsole, autologin);
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
