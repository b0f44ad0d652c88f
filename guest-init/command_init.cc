#include "guest-init/command_init.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>
#include <string>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/files.h"

namespace guest_init {

namespace {

constexpr int kTermGraceMs = 3'000;  // between SIGTERM and SIGKILL for everything that still runs
constexpr int kPollMs = 20;
constexpr int kMaxUnmountRounds = 8;

void mount_there(const char* type, const char* where, unsigned long flags, const char* data) {
  mkdir(where, 0755);
  if (mount(type, where, type, flags, data) == 0 || errno == EBUSY) return;
  note(std::string("cannot mount ") + type + " on " + where + because());
}

/// Each controller that the kernel has for version 1, in a hierarchy of its own.
void mount_cgroup_v1() {
  mount_there("tmpfs", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755");
  const std::string table = read_text("/proc/cgroups");
  // A heading, then a line for each: name, hierarchy, cgroups, whether it is enabled.
  for (std::size_t end = table.find('\n'); end != std::string::npos;) {
    const std::size_t at = end + 1;
    end = table.find('\n', at);
    if (end == std::string::npos) break;
    const std::string name = table.substr(at, table.find('\t', at) - at);
    if (table[end - 1] != '1' || name.empty()) continue;
    const std::string where = "/sys/fs/cgroup/" + name;
    mkdir(where.c_str(), 0755);
    if (mount("cgroup", where.c_str(), "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, name.c_str()) != 0) {
      note("cannot mount the cgroup controller " + name + because());
      rmdir(where.c_str());
    }
  }
}

void set_host_name() {
  std::string name = read_text("/etc/hostname");
  name.resize(std::min(name.find_first_of(" \t\n"), name.size()));
  // An image's own may be longer than a kernel takes.
  if (name.size() > HOST_NAME_MAX) name.resize(std::min<std::size_t>(name.find('.'), HOST_NAME_MAX));
  if (!name.empty() && sethostname(name.data(), name.size()) != 0)
    say("cannot take the host name " + name + because());
}

int pause_ms(int duration_ms) {
  const timespec pause{duration_ms / 1000, (duration_ms % 1000) * 1'000'000L};
  return nanosleep(&pause, nullptr);
}

/// False when there is no child left. Orphans are children of PID 1, so that means no process but ours.
bool reap(pid_t agent, bool& agent_ended) {
  pid_t ended;
  while ((ended = waitpid(-1, nullptr, WNOHANG)) > 0) agent_ended = agent_ended || ended == agent;
  return ended == 0;
}

void end_processes() {
  bool ignored = false;
  for (const int number : {SIGTERM, SIGKILL}) {
    if (kill(-1, number) != 0) return;  // nobody is left
    for (int waited_ms = 0; waited_ms < kTermGraceMs; waited_ms += kPollMs) {
      if (!reap(-1, ignored)) return;
      pause_ms(kPollMs);
    }
  }
}

std::vector<std::string> mount_points() {
  std::vector<std::string> points;
  const std::string table = read_text("/proc/self/mounts");
  for (std::size_t at = 0; at < table.size(); at = table.find('\n', at) + 1) {
    const std::size_t start = table.find(' ', at) + 1;
    points.push_back(table.substr(start, table.find(' ', start) - start));
    if (table.find('\n', at) == std::string::npos) break;
  }
  return points;
}

/// What can be unmounted is, the last one mounted first; then the root is made read-only, which writes out
/// what a disk's file system has in mind.
void unmount_everything() {
  for (int round = 0; round < kMaxUnmountRounds; ++round) {
    bool progress = false;
    const auto points = mount_points();
    for (auto point = points.rbegin(); point != points.rend(); ++point) {
      const bool needed = *point == "/" || *point == "/proc" || *point == "/dev";
      progress = (!needed && umount2(point->c_str(), 0) == 0) || progress;
    }
    if (!progress) break;
  }
  sync();
  mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
}

[[noreturn]] void shut_down(bool reboot_after) {
  end_processes();
  unmount_everything();
  if (reboot_after) restart();
  power_off();
}

}  // namespace

void prepare_system(bool cgroup_v1) {
  constexpr unsigned long kSafe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  mount_there("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
  mount_there("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_there("mqueue", "/dev/mqueue", kSafe, nullptr);
  constexpr const char* kLinks[][2] = {{"/proc/self/fd", "/dev/fd"},
                                       {"/proc/self/fd/0", "/dev/stdin"},
                                       {"/proc/self/fd/1", "/dev/stdout"},
                                       {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& link : kLinks) [[maybe_unused]]
    const int made = symlink(link[0], link[1]);
  if (cgroup_v1) {
    mount_cgroup_v1();
  } else {
    mount_there("cgroup2", "/sys/fs/cgroup", kSafe, "nsdelegate");
  }
  mkdir("/run/lock", 01777);
  set_host_name();
}

void serve_as_init(pid_t agent) {
  // Ctrl-Alt-Del is a signal like the others.
  reboot(RB_DISABLE_CAD);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGPWR}) sigaddset(&signals, number);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  bool reboot_after = false;
  for (bool agent_ended = false; !agent_ended;) {
    reap(agent, agent_ended);
    if (agent_ended) break;
    const int number = sigwaitinfo(&signals, nullptr);
    if (number < 0 || number == SIGCHLD) continue;
    // As busybox's halt, poweroff and reboot ask for it.
    reboot_after = number == SIGTERM || number == SIGINT;
    kill(agent, SIGTERM);
  }
  shut_down(reboot_after);
}

}  // namespace guest_init
