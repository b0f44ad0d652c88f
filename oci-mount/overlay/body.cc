#include "oci-mount/overlay/body.h"

#include <fcntl.h>
#include <unistd.h>

#include <climits>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/layer/whiteout_names.h"

namespace layerboot::overlay {

namespace {

/// On a native upper, an empty file with this is the guest's own character device 0:0, which as itself would
/// be a whiteout of ours.
using layer::kDeviceZeroXattr;
/// Of bodies on a recorded upper: the owner must be able to reach everything.
constexpr mode_t kRecordedFileMode = 0600;
constexpr mode_t kRecordedDirectoryMode = 0700;
/// On a recorded upper: a symlink's target. It is in the journal with the name, as a host's own symlink is;
/// as data it would come later than the name, or have to be synced before it.
constexpr std::string_view kTargetXattr = "user.overlay.layerboot.target";
/// Longer targets are data: they may not fit beside the other attributes in the one block that ext4 has.
constexpr std::size_t kMaxTargetInXattrBytes = 1024;

/// The body is as large as the target, which is what lstat(2) tells.
Result<void> keep_target(int fd, std::string_view target) {
  LB_TRY(set_xattr_at({fd, ""}, kTargetXattr, target, 0));
  return ::ftruncate(fd, static_cast<off_t>(target.size())) == 0 ? Result<void>() : fail(errno);
}

Result<UniqueFd> make_native(Place place, const Nature& nature, std::string_view target) {
  int status = 0;
  const mode_t permissions = nature.mode & kPermissionBits;
  switch (nature.mode & kTypeBits) {
    case S_IFREG:
      return create_regular_at(place, permissions);
    case S_IFDIR:
      status = ::mkdirat(place.dir_fd, place.name, permissions);
      break;
    case S_IFLNK:
      status = ::symlinkat(std::string(target).c_str(), place.dir_fd, place.name);
      break;
    default:
      if (looks_like_whiteout(nature.mode, nature.rdev)) return create_regular_at(place, permissions);
      status = ::mknodat(place.dir_fd, place.name, nature.mode, decode_dev(nature.rdev));
  }
  if (status != 0) return fail(errno);
  return UniqueFd();
}

Result<UniqueFd> make_recorded(Place place, const Nature& nature) {
  if (!S_ISDIR(nature.mode)) return create_regular_at(place, kRecordedFileMode);
  if (::mkdirat(place.dir_fd, place.name, kRecordedDirectoryMode) != 0) return fail(errno);
  return UniqueFd();
}

Result<void> finish_native(Place place, const Nature& nature, Body& body) {
  const Place self = body.fd ? Place{body.fd.get(), ""} : place;
  if (looks_like_whiteout(nature.mode, nature.rdev))
    LB_TRY(set_xattr_at(self, kDeviceZeroXattr, layer::kDeviceZeroValue, 0));
  LB_ASSIGN(body.st, stat_at(self));
  // Most often the host has made it as the caller wants it: the daemon's own owner and no bits for its umask.
  const bool owned = body.st.st_uid == nature.uid && body.st.st_gid == nature.gid;
  const bool right =
      S_ISLNK(nature.mode) || (body.st.st_mode & kPermissionBits) == (nature.mode & kPermissionBits);
  if (owned && right) return {};
  LB_TRY(set_nature_at(Keeping::kNative, self, nature));
  LB_ASSIGN(body.st, stat_at(self));
  return {};
}

Result<void> finish_recorded(Place place, const Nature& nature, std::string_view target, Body& body) {
  const Place self = body.fd ? Place{body.fd.get(), ""} : place;
  if (S_ISLNK(nature.mode) && !is_target_data(Keeping::kRecorded, target)) {
    LB_TRY(keep_target(body.fd.get(), target));
  }
  LB_TRY(set_nature_at(Keeping::kRecorded, self, nature));
  LB_ASSIGN(body.st, stat_at(self));
  return {};
}

/// A file of somebody else's.
Result<Body> make_and_link(Place place, const Nature& nature) {
  Body body;
  const std::uint32_t permissions = nature.mode & kPermissionBits;
  LB_ASSIGN(body.fd, create_nameless_in(place.dir_fd, permissions));
  const Place self{body.fd.get(), ""};
  LB_TRY(set_owner_at(self, nature.uid, nature.gid));
  // The change of owner has cleared set-id bits, and a umask may have taken others.
  LB_ASSIGN(body.st, stat_at(self));
  if ((body.st.st_mode & kPermissionBits) != permissions) LB_TRY(set_mode_at(self, nature.mode));
  LB_TRY(link_nameless(body.fd.get(), place));
  LB_ASSIGN(body.st, stat_at(self));
  return body;
}

}  // namespace

bool is_target_data(Keeping keeping, std::string_view target) {
  return keeping == Keeping::kRecorded && target.size() > kMaxTargetInXattrBytes;
}

Result<UniqueFd> prepare_target(Place place, std::string_view target) {
  LB_ASSIGN(UniqueFd fd, create_regular_at(place, kRecordedFileMode));
  auto written = write_all(fd.get(), as_bytes(target), 0);
  if (written && ::fsync(fd.get()) != 0) written = fail(errno);
  if (written) return fd;
  static_cast<void>(unlink_at(place));
  return std::unexpected(std::move(written).error());
}

Result<Body> make_body(Keeping keeping, Making making, Place place, const Nature& nature,
                       std::string_view target, UniqueFd prepared) {
  if (making == Making::kByLink) return make_and_link(place, nature);
  Body body{.fd = std::move(prepared), .st = {}};
  const bool native = keeping == Keeping::kNative;
  if (!body.fd) {
    LB_ASSIGN(body.fd, native ? make_native(place, nature, target) : make_recorded(place, nature));
  }
  auto done = native ? finish_native(place, nature, body) : finish_recorded(place, nature, target, body);
  if (!done) {
    static_cast<void>(unlink_at(place, S_ISDIR(nature.mode) ? AT_REMOVEDIR : 0));
    return std::unexpected(std::move(done).error());
  }
  if (!S_ISREG(nature.mode)) body.fd.reset();
  return body;
}

Making making_of(Keeping keeping, const Nature& nature, const MadeByHost& host) {
  if (keeping != Keeping::kNative || looks_like_whiteout(nature.mode, nature.rdev)) return Making::kElsewhere;
  const bool is_group_right = host.hands_down_group || nature.gid == host.gid;
  // mkdir(2) takes none but what the directory hands down.
  const std::uint32_t handed_down = S_ISDIR(nature.mode) && host.hands_down_group ? S_ISGID : 0;
  const bool is_mode_right = (nature.mode & kSetIdBits & ~handed_down) == 0;
  if (nature.uid == host.uid && is_group_right && is_mode_right) return Making::kAtOnce;
  return S_ISREG(nature.mode) && host.has_nameless_files ? Making::kByLink : Making::kElsewhere;
}

Result<Nature> nature_at(Keeping keeping, Place place, const struct stat& st) {
  Nature nature{.mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid, .rdev = encode_dev(st.st_rdev)};
  if (keeping == Keeping::kNative) {
    if (!S_ISREG(st.st_mode) || st.st_size != 0) return nature;
    LB_ASSIGN(const auto mark, get_xattr_at(place, kDeviceZeroXattr));
    if (mark) nature.mode = (nature.mode & kPermissionBits) | S_IFCHR;
    return nature;
  }
  // An object without a record, or with one that can't be true, was not made here: it is root's, as it
  // stands.
  nature.uid = nature.gid = 0;
  LB_ASSIGN(const auto text, get_xattr_at(place, kRecordedStatXattr));
  const auto recorded = text ? parse_recorded_stat(*text) : std::nullopt;
  if (!recorded || S_ISDIR(recorded->mode) != S_ISDIR(st.st_mode)) return nature;
  return *recorded;
}

Result<void> set_nature_at(Keeping keeping, Place place, const Nature& nature) {
  if (keeping == Keeping::kRecorded) {
    return set_xattr_at(place, kRecordedStatXattr, format_recorded_stat(nature), 0);
  }
  LB_TRY(set_owner_at(place, nature.uid, nature.gid));
  // After the owner, whose change clears set-id bits.
  return set_mode_at(place, nature.mode);
}

Result<void> mend_link_at(Keeping keeping, Place place, struct stat& st) {
  if (keeping == Keeping::kNative || st.st_size != 0) return {};
  LB_ASSIGN(const auto target, get_xattr_at(place, kTargetXattr));
  if (!target) return {};
  LB_ASSIGN(const UniqueFd fd, open_regular_at(place));
  if (::ftruncate(fd.get(), static_cast<off_t>(target->size())) != 0) return fail(errno);
  LB_ASSIGN(st, stat_at({fd.get(), ""}));
  return {};
}

Result<std::string> link_target_at(Keeping keeping, Place place) {
  if (keeping == Keeping::kNative) return readlink_at(place);
  LB_ASSIGN(auto kept, get_xattr_at(place, kTargetXattr));
  if (kept) return *std::move(kept);
  LB_ASSIGN(const UniqueFd fd, open_regular_at(place));
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::pread(fd.get(), target.data(), target.size(), 0);
  if (length < 0) return fail(errno);
  target.resize(static_cast<std::size_t>(length));
  return target;
}

}  // namespace layerboot::overlay
