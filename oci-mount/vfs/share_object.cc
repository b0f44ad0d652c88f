#include "oci-mount/vfs/share_object.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/base/device_number.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"

namespace layerboot::vfs {

namespace {

Time time_of(const statx_timestamp& time) { return {time.tv_sec, time.tv_nsec}; }

}  // namespace

Result<Seen> look_at(overlay::Place place) {
  struct statx st{};
  if (::statx(place.dir_fd, place.name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
              STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &st) != 0) {
    return fail(errno);
  }
  Seen seen;
  seen.identity.ino = st.stx_ino;
  seen.identity.type = st.stx_mode & kTypeBits;
  if ((st.stx_mask & STATX_BTIME) != 0) seen.identity.born = time_of(st.stx_btime);
  const bool tells_mount = (st.stx_mask & STATX_MNT_ID) != 0;
  seen.identity.mount = tells_mount ? st.stx_mnt_id : makedev(st.stx_dev_major, st.stx_dev_minor);
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
               .rdev = encode_dev(st.stx_rdev_major, st.stx_rdev_minor)};
  return seen;
}

Result<UniqueFd> open_again(int fd, int flags) {
  // The one link that is followed is /proc's own, to the very object.
  return open_resolving(AT_FDCWD, descriptor_path(fd).c_str(), flags | O_NONBLOCK | O_NOCTTY, 0);
}

}  // namespace layerboot::vfs
