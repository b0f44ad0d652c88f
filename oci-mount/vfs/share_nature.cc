#include "oci-mount/vfs/share_nature.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"

namespace layerboot::vfs {

namespace {

/// Harmless on directories: how groups are handed down, and who may remove.
constexpr std::uint32_t kDirectoryBits = 03777;

bool carries_attributes(std::uint32_t mode) { return S_ISREG(mode) || S_ISDIR(mode); }

/// What the guest sees without a record.
Nature bare_nature(Keeper keeper, const Attr& attr) {
  const bool root = keeper == Keeper::kRoot;
  return {.mode = attr.mode, .uid = root ? attr.uid : 0, .gid = root ? attr.gid : 0, .rdev = attr.rdev};
}

Result<void> record(int fd, const Nature& wanted) {
  LB_ASSIGN(const UniqueFd real, open_again(fd, O_RDONLY));
  return overlay::set_xattr_at({real.get(), ""}, overlay::kRecordedStatXattr,
                               overlay::format_recorded_stat(wanted), 0);
}

/// There may be none, and the host may have none at all.
Result<void> drop_record(int fd) {
  const auto real = open_again(fd, O_RDONLY);
  if (!real) return {};
  const auto gone = overlay::remove_xattr_at({real->get(), ""}, overlay::kRecordedStatXattr);
  if (gone || gone.error().code == ENODATA || gone.error().code == EOPNOTSUPP) return {};
  return gone;
}

}  // namespace

std::uint32_t host_mode(Keeper keeper, std::uint32_t mode) {
  const std::uint32_t bits = mode & (S_ISDIR(mode) ? kDirectoryBits : kAccessBits);
  if (keeper == Keeper::kRoot) return bits;
  // The daemon has no rights but its user's, and must be able to reach everything.
  return bits | (S_ISDIR(mode) ? S_IRWXU : S_IRUSR | S_IWUSR);
}

Result<void> show_as_guest(Keeper keeper, overlay::Place place, Attr& attr) {
  const Nature bare = bare_nature(keeper, attr);
  attr.uid = bare.uid;
  attr.gid = bare.gid;
  if (!carries_attributes(attr.mode)) return {};
  LB_ASSIGN(const auto text, overlay::get_xattr_at(place, overlay::kRecordedStatXattr));
  const auto recorded = text ? overlay::parse_recorded_stat(*text) : std::nullopt;
  if (!recorded) return {};
  attr.uid = recorded->uid;
  attr.gid = recorded->gid;
  const std::uint32_t type = attr.mode & kTypeBits;
  // Somebody on the host has changed the mode since: that is newer than the record.
  const bool still_holds = (host_mode(keeper, type | (recorded->mode & kPermissionBits)) & kAccessBits) ==
                           (attr.mode & kAccessBits);
  const std::uint32_t access = still_holds ? recorded->mode & kAccessBits : attr.mode & kAccessBits;
  attr.mode = type | access | (recorded->mode & (kPermissionBits & ~kAccessBits));
  return {};
}

Result<void> set_nature(Keeper keeper, int fd, const Attr& now, const Nature& wanted) {
  Nature bare = bare_nature(keeper, now);
  if (keeper == Keeper::kRoot && (now.uid != wanted.uid || now.gid != wanted.gid)) {
    LB_TRY(overlay::set_owner_at({fd, ""}, wanted.uid, wanted.gid));
    bare.uid = wanted.uid;
    bare.gid = wanted.gid;
  }
  if (S_ISLNK(now.mode)) return {};
  // After the owner, whose change clears bits.
  const std::uint32_t mode = host_mode(keeper, (now.mode & kTypeBits) | (wanted.mode & kPermissionBits));
  if (mode != (now.mode & kPermissionBits) || bare.uid != now.uid || bare.gid != now.gid) {
    if (::fchmodat(AT_FDCWD, descriptor_path(fd).c_str(), mode, 0) != 0) return fail(errno);
  }
  if (!carries_attributes(now.mode)) return {};
  const bool as_it_is =
      bare.uid == wanted.uid && bare.gid == wanted.gid && mode == (wanted.mode & kPermissionBits);
  return as_it_is ? drop_record(fd) : record(fd, wanted);
}

}  // namespace layerboot::vfs
