#include "oci-mount/vfs/share_object.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci-mount/overlay/device_number.h"

namespace layerboot::vfs {

namespace {

Time time_of(const statx_timestamp& time) { return {time.tv_sec, time.tv_nsec}; }

/// openat2(2), which alone the sandbox allows.
Result<UniqueFd> open_resolving(int dir_fd, const std::string& path, int flags, std::uint32_t mode,
                                std::uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = resolve;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof(how))));
  if (!fd) return fail(errno);
  return fd;
}

}  // namespace

Result<Seen> look_at(overlay::Place place) {
  struct statx st{};
  if (::statx(place.dir_fd, place.name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
              &st) != 0) {
    return fail(errno);
  }
  Seen seen;
  seen.identity.ino = st.stx_ino;
  seen.identity.type = st.stx_mode & S_IFMT;
  if ((st.stx_mask & STATX_BTIME) != 0) seen.identity.born = time_of(st.stx_btime);
  seen.device = makedev(st.stx_dev_major, st.stx_dev_minor);
  seen.attr = {.ino = st.stx_ino,
               .size_bytes = st.stx_size,
               .blocks = st.stx_blocks,
               .atime = time_of(st.stx_atime),
               .mtime = time_of(st.stx_mtime),
               .ctime = time_of(st.stx_ctime),
               .mode = st.stx_mode,
               .nlink = st.stx_nlink,
               .uid = st.stx_uid,
               .gid = st.stx_gid,
               .rdev = overlay::encode_dev(makedev(st.stx_rdev_major, st.stx_rdev_minor))};
  return seen;
}

Result<UniqueFd> open_below(int root_fd, const std::string& path, int flags, std::uint32_t mode) {
  return open_resolving(root_fd, path, flags | O_NOFOLLOW, mode,
                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

Result<UniqueFd> open_again(int fd, int flags) {
  // The one link that is followed is /proc's own, to the very object.
  return open_resolving(AT_FDCWD, descriptor_path(fd), flags | O_NONBLOCK | O_NOCTTY, 0, 0);
}

std::string descriptor_path(int fd) { return str_cat("/proc/self/fd/", fd); }

}  // namespace layerboot::vfs
