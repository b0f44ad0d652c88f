#include "oci-mount/vfs/share_nature.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/overlay/acl.h"

namespace layerboot::vfs {

namespace {

/// Harmless on directories: how groups are handed down, and who may remove.
constexpr std::uint32_t kDirectoryBits = 03777;
constexpr std::uint32_t kOthersWrite = S_IWGRP | S_IWOTH;

bool carries_attributes(std::uint32_t mode) { return S_ISREG(mode) || S_ISDIR(mode); }

std::uint32_t kept_bits(std::uint32_t mode) { return mode & (S_ISDIR(mode) ? kDirectoryBits : kAccessBits); }

/// The daemon has no rights but its user's, and must be able to reach everything.
std::uint32_t reachable_mode(std::uint32_t mode) {
  return kept_bits(mode) | (S_ISDIR(mode) ? S_IRWXU : S_IRUSR | S_IWUSR);
}

/// With a record nobody else may write, or it would be anybody's.
std::uint32_t recorded_mode(std::uint32_t mode) { return reachable_mode(mode) & ~kOthersWrite; }

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

/// Then the mode's bits of the group are what any entry gives at most, and the group's own may be none. Where
/// the host does not tell, there may be one.
bool has_access_acl(overlay::Place place) {
  const auto acl = overlay::get_xattr_at(place, overlay::kAccessAclXattr);
  return acl ? acl->has_value() : acl.error().code != EOPNOTSUPP;
}

Result<void> set_mode(int fd, std::uint32_t mode) {
  if (::fchmodat(AT_FDCWD, descriptor_path(fd).c_str(), mode, 0) != 0) return fail(errno);
  return {};
}

}  // namespace

Result<void> Keeper::check(overlay::Place place, const Attr& host, Want want) const {
  if (!is_root_ || want == Want::kSee) return {};
  const bool knows_user = ids_.users.knows_host(host.uid);
  const bool knows_group = ids_.groups.knows_host(host.gid);
  if (knows_user && knows_group) return {};
  if (want == Want::kOwn) return fail(EPERM);
  if (want == Want::kWrite) return fail(EACCES);
  const bool reads = want == Want::kRead;
  const auto may = [&host](std::uint32_t bit) { return (host.mode & bit) != 0; };
  if (may(reads ? S_IROTH : S_IXOTH)) return {};
  if (knows_user && may(reads ? S_IRUSR : S_IXUSR)) return {};
  if (knows_group && may(reads ? S_IRGRP : S_IXGRP) && !has_access_acl(place)) return {};
  return fail(EACCES);
}

Result<void> Keeper::show(overlay::Place place, Attr& attr) const {
  const std::uint32_t owner = attr.uid;
  if (!S_ISDIR(attr.mode) && !ids_.users.knows_host(owner)) attr.mode &= ~std::uint32_t{kSetIdBits};
  attr.uid = ids_.users.to_guest(owner);
  attr.gid = ids_.groups.to_guest(attr.gid);
  if (is_root_ || owner != uid_ || !carries_attributes(attr.mode) || (attr.mode & kOthersWrite) != 0)
    return {};
  LB_ASSIGN(const auto text, overlay::get_xattr_at(place, overlay::kRecordedStatXattr));
  const auto recorded = text ? overlay::parse_recorded_stat(*text) : std::nullopt;
  if (!recorded) return {};
  attr.uid = recorded->uid;
  attr.gid = recorded->gid;
  const std::uint32_t type = attr.mode & kTypeBits;
  const std::uint32_t wanted = type | (recorded->mode & kPermissionBits);
  // Somebody on the host has changed the mode since: that is newer than the record.
  const bool still_holds = (recorded_mode(wanted) & kAccessBits) == (attr.mode & kAccessBits);
  attr.mode = type | (still_holds ? kept_bits(wanted) : attr.mode & kAccessBits);
  return {};
}

bool Keeper::needs_record(const Nature& wanted, std::uint32_t guest_gid) const {
  return carries_attributes(wanted.mode) && (wanted.uid != 0 || wanted.gid != guest_gid ||
                                             reachable_mode(wanted.mode) != kept_bits(wanted.mode));
}

std::uint32_t Keeper::new_mode(const Nature& wanted, std::uint32_t guest_gid) const {
  if (is_root_) return kept_bits(wanted.mode);
  return needs_record(wanted, guest_gid) ? recorded_mode(wanted.mode) : reachable_mode(wanted.mode);
}

Result<void> Keeper::note_new(int fd, const Nature& wanted) const {
  if (is_root_) return {};
  LB_ASSIGN(const Seen now, look_at({fd, ""}));
  if (!needs_record(wanted, ids_.groups.to_guest(now.attr.gid))) return {};
  Nature noted = wanted;
  noted.mode = (wanted.mode & kTypeBits) | kept_bits(wanted.mode);
  return record(fd, noted);
}

Result<void> Keeper::set(int fd, const Nature& wanted) const {
  LB_ASSIGN(const Seen now, look_at({fd, ""}));
  return is_root_ ? set_as_root(fd, now.attr, wanted) : set_recorded(fd, now.attr, wanted);
}

Result<void> Keeper::set_as_root(int fd, const Attr& now, const Nature& wanted) const {
  // Who is nobody here stays whom he is.
  std::uint32_t uid = now.uid;
  std::uint32_t gid = now.gid;
  if (wanted.uid != ids_.users.to_guest(now.uid)) {
    LB_ASSIGN(uid, ids_.users.to_host(wanted.uid));
  }
  if (wanted.gid != ids_.groups.to_guest(now.gid)) {
    LB_ASSIGN(gid, ids_.groups.to_host(wanted.gid));
  }
  const bool gives_away = uid != now.uid || gid != now.gid;
  if (gives_away) LB_TRY(overlay::set_owner_at({fd, ""}, uid, gid));
  if (S_ISLNK(now.mode)) return {};
  // After the owner, whose change clears bits.
  const std::uint32_t mode = kept_bits((now.mode & kTypeBits) | (wanted.mode & kPermissionBits));
  if (!gives_away && mode == (now.mode & kPermissionBits)) return {};
  if ((mode & S_ISGID) == 0) return set_mode(fd, mode);
  // Only a member of its group may hand that down, as the daemon has no CAP_FSETID.
  const ActingAs member(0, gid);
  LB_TRY(member.outcome());
  return set_mode(fd, mode);
}

Result<void> Keeper::set_recorded(int fd, const Attr& now, const Nature& wanted) const {
  if (S_ISLNK(now.mode)) return {};
  Nature nature = wanted;
  nature.mode = (now.mode & kTypeBits) | (wanted.mode & kPermissionBits);
  const bool recorded = needs_record(nature, ids_.groups.to_guest(now.gid));
  const std::uint32_t mode = recorded ? recorded_mode(nature.mode) : reachable_mode(nature.mode);
  if (mode != (now.mode & kPermissionBits)) LB_TRY(set_mode(fd, mode));
  if (!carries_attributes(now.mode)) return {};
  nature.mode = (now.mode & kTypeBits) | kept_bits(nature.mode);
  return recorded ? record(fd, nature) : drop_record(fd);
}

ActingAs::ActingAs(uid_t uid, gid_t gid) {
  former_gid_ = static_cast<gid_t>(::setfsgid(gid));
  former_uid_ = static_cast<uid_t>(::setfsuid(uid));
  // These calls tell the id before, and no error.
  is_so_ = (former_uid_ == uid || static_cast<uid_t>(::setfsuid(uid)) == uid) &&
           (former_gid_ == gid || static_cast<gid_t>(::setfsgid(gid)) == gid);
}

ActingAs::~ActingAs() {
  ::setfsuid(former_uid_);
  ::setfsgid(former_gid_);
}

Result<void> ActingAs::outcome() const {
  if (!is_so_) return fail(EPERM);
  return {};
}

}  // namespace layerboot::vfs
