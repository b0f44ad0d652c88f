#include "guest-init/root_paths.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/mount_order.h"
#include "guest-init/open_in_root.h"

namespace guest_init {

int make_directory_in_root(int root, const std::string& path) {
  constexpr int kFlags = O_PATH | O_DIRECTORY;
  const int found = open_in_root(root, path.empty() ? "." : path.c_str(), kFlags);
  if (found >= 0 || errno != ENOENT) return found;
  const std::size_t slash = path.rfind('/');
  const int parent = make_directory_in_root(root, slash == std::string::npos ? "" : path.substr(0, slash));
  if (parent < 0) return -1;
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const int made = mkdirat(parent, name.c_str(), 0755);
  const int opened = made == 0 ? openat(parent, name.c_str(), kFlags | O_NOFOLLOW | O_CLOEXEC) : -1;
  close(parent);
  return opened;
}

void make_volume_directories(int root, const std::vector<std::string>& volumes) {
  for (const std::string& volume : volumes) {
    const std::string path = plain_path(volume).substr(1);
    if (path.empty()) continue;
    const Fd made(make_directory_in_root(root, path));
    if (!made && errno != EROFS) say("cannot make the volume /" + path + because());
  }
}

void bind_into_root(const std::string& from, int target, const std::string& what) {
  const std::string to = "/proc/self/fd/" + std::to_string(target);
  if (target < 0 || mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0)
    say("cannot show " + what + " in the root" + because());
  if (target >= 0) close(target);
}

}  // namespace guest_init
