#include "guest-init/switch_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "guest-init/console.h"
#include "guest-init/mounts.h"

namespace guest_init {

namespace {

constexpr int kMaxDepth = 32;

/// Empties the directory and closes it. Mounted file systems are left alone: only what is on `device` goes.
void remove_contents(int directory, dev_t device, int depth) {
  DIR* stream = depth > kMaxDepth ? nullptr : fdopendir(directory);
  if (!stream) {
    close(directory);
    return;
  }
  while (const dirent* entry = readdir(stream)) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    struct stat st{};
    if (fstatat(directory, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_dev != device) continue;
    if (!S_ISDIR(st.st_mode)) {
      unlinkat(directory, entry->d_name, 0);
      continue;
    }
    const int child = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child >= 0) remove_contents(child, device, depth + 1);
    unlinkat(directory, entry->d_name, AT_REMOVEDIR);
  }
  closedir(stream);
}

void move_mount(const char* from) {
  const std::string to = std::string(kNewRoot) + from;
  mkdir(to.c_str(), 0755);
  if (mount(from, to.c_str(), nullptr, MS_MOVE, nullptr) == 0) return;
  // An image without the directory, on a read-only root: its init has to do without, or fails and says so.
  say("the image has no directory " + std::string(from) + " to mount on" + because());
  umount2(from, MNT_DETACH);
}

}  // namespace

int switch_root() {
  struct stat initramfs{};
  if (stat("/", &initramfs) != 0) stop_boot("cannot look at /" + because());
  const int old_root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (const char* from : {"/dev", "/proc", "/sys", "/run"}) move_mount(from);
  if (chdir(kNewRoot) != 0 || mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || chroot(".") != 0 ||
      chdir("/") != 0) {
    stop_boot("cannot make the mounted root the root" + because());
  }
  // Emptying closes its descriptor.
  if (old_root >= 0) remove_contents(fcntl(old_root, F_DUPFD_CLOEXEC, 3), initramfs.st_dev, 0);
  return old_root;
}

}  // namespace guest_init
