#include "guest-init/session_group.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>

#include "guest-init/files.h"

namespace guest_init {

namespace {

// The second is systemd's tree of version 1; on such a system the first holds no groups.
constexpr std::array<const char*, 2> kHierarchies = {"sys/fs/cgroup", "sys/fs/cgroup/systemd"};
constexpr mode_t kMode = 0755;

std::string parent_group(const char* hierarchy) { return std::string(hierarchy) + "/layerboot"; }

std::string session_group(const char* hierarchy, pid_t pid) {
  return parent_group(hierarchy) + "/session-" + std::to_string(pid);
}

}  // namespace

void enter_session_group() {
  for (const char* hierarchy : kHierarchies) {
    const std::string root = std::string("/") + hierarchy;
    if (access((root + "/cgroup.procs").c_str(), W_OK) != 0) continue;
    const std::string group = "/" + session_group(hierarchy, getpid());
    mkdir(("/" + parent_group(hierarchy)).c_str(), kMode);
    if (mkdir(group.c_str(), kMode) != 0) return;
    // "0" is the writer itself, whatever its number is in which namespace.
    if (!write_text(group + "/cgroup.procs", "0")) rmdir(group.c_str());
    return;
  }
}

void remove_session_group(int root, pid_t pid) {
  for (const char* hierarchy : kHierarchies) {
    if (unlinkat(root, session_group(hierarchy, pid).c_str(), AT_REMOVEDIR) == 0) return;
  }
}

}  // namespace guest_init
