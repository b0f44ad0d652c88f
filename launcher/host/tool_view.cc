#include "launcher/host/tool_view.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace layerboot::launcher {

namespace {

struct Seen {
  const char* path;  // from the root on, in both
  bool is_file = false;
};

constexpr std::array kSeen{
    Seen{"/usr"},
    Seen{"/bin"},
    Seen{"/sbin"},
    Seen{"/lib"},
    Seen{"/lib32"},
    Seen{"/lib64"},
    Seen{"/libx32"},
    Seen{"/nix"},
    Seen{"/gnu"},
    Seen{"/etc/ld.so.cache", true},
    Seen{"/etc/e2fsck.conf", true},
};
constexpr const char* kInputPlace = "proc/self/fd/0";
/// A directory that is always there.
constexpr const char* kNewRoot = "/proc";

/// A mount that is nowhere yet, or -1.
int clone_mount(int at, const char* path, unsigned flags, std::uint64_t attributes) {
  const int tree = ::open_tree(at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
  if (tree < 0) return -1;
  mount_attr change{};
  change.attr_set = attributes;
  const unsigned recursive = flags & AT_RECURSIVE;
  return ::mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &change, sizeof(change)) == 0 ? tree : -1;
}

bool make_file(const char* path) {
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  return fd >= 0 && ::close(fd) == 0;
}

bool put(int tree, const char* place) {
  return ::move_mount(tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) == 0 && ::close(tree) == 0;
}

using Trees = std::array<int, kSeen.size()>;

/// Cloned while these mounts are ours. False where not all can be that are there.
bool clone_seen(Trees& trees) {
  constexpr std::uint64_t kForReading = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  for (std::size_t i = 0; i < kSeen.size(); ++i) {
    trees[i] = clone_mount(AT_FDCWD, kSeen[i].path, AT_RECURSIVE, kForReading);
    if (trees[i] < 0 && errno != ENOENT) return false;
  }
  return true;
}

/// In the working directory.
bool furnish(const Trees& trees, int input) {
  for (const char* directory : {"etc", "proc", "proc/self", "proc/self/fd"}) {
    if (::mkdir(directory, 0755) != 0) return false;
  }
  for (std::size_t i = 0; i < kSeen.size(); ++i) {
    if (trees[i] < 0) continue;
    const char* const place = kSeen[i].path + 1;
    if (kSeen[i].is_file ? !make_file(place) : ::mkdir(place, 0755) != 0) return false;
    if (!put(trees[i], place)) return false;
  }
  return make_file(kInputPlace) && put(input, kInputPlace);
}

}  // namespace

bool see_programs_and_input_only() {
  const int input =
      clone_mount(STDIN_FILENO, "", AT_EMPTY_PATH, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  Trees trees{};
  if (input < 0 || !clone_seen(trees) || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", kNewRoot, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0755,size=64k,nr_inodes=64") != 0)
    return true;
  // As it is in this namespace, to come back to.
  const int before = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  // The old root ends up on top of the new one, at the same place, and is let go (pivot_root(2), NOTES).
  if (::chdir(kNewRoot) != 0 || !furnish(trees, input) || ::syscall(SYS_pivot_root, ".", ".") != 0)
    return ::fchdir(before) == 0 && ::umount2(kNewRoot, MNT_DETACH) == 0;
  mount_attr read_only{};
  read_only.attr_set = MOUNT_ATTR_RDONLY;
  return ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0 &&
         ::mount_setattr(AT_FDCWD, "/", 0, &read_only, sizeof(read_only)) == 0;
}

}  // namespace layerboot::launcher
