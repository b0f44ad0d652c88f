#include "oci-mount/overlay/lower_metadata.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <utility>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::overlay {

namespace {

/// Whether the host has room, so that its ENOSPC is of what it keeps for one object.
bool has_room(int fd) {
  constexpr std::uint64_t kEnoughBytes = 1 << 20;
  struct statvfs space{};
  return ::fstatvfs(fd, &space) == 0 && std::uint64_t{space.f_bavail} * space.f_frsize >= kEnoughBytes;
}

bool is_refused_for_good(const Error& error, Place place) {
  switch (error.code) {
    case EOPNOTSUPP:
    case EPERM:
    case EACCES:
    case EINVAL:
    case ERANGE:
    case E2BIG:
      return true;
    case ENOSPC:
      return has_room(place.dir_fd);
    default:
      return false;
  }
}

}  // namespace

RecordedStat nature_of(const tree::NodeRecord& record) {
  return {.mode = record.mode, .uid = record.uid, .gid = record.gid, .rdev = record.rdev};
}

Result<void> LowerMetadata::copy(tree::NodeId id, Place place) {
  LB_TRY(set_nature_at(keeping_, place, nature_of(lower_.tree.node(id))));
  LB_TRY(copy_xattrs(id, place, Existing::kReplaced));
  return copy_times(id, place);
}

Result<void> LowerMetadata::copy_xattrs(tree::NodeId id, Place place, Existing existing) {
  const std::uint32_t mode = lower_.tree.node(id).mode;
  const int flags = existing == Existing::kKept ? XATTR_CREATE : 0;
  for (const auto& xattr : lower_.tree.xattrs(id)) {
    const auto guest_name = lower_.tree.xattr_name(xattr);
    if (!lower_.serves_xattr(id, guest_name)) continue;  // nobody sees it below either
    // A host keeps these on files and directories only, whatever a tar says.
    if (guest_name.starts_with("user.") && !S_ISREG(mode) && !S_ISDIR(mode)) continue;
    const auto name = host_xattr_name(keeping_, guest_name);
    const auto set = name ? set_xattr_at(place, *name, lower_.tree.xattr_value(xattr), flags)
                          : Result<void>(std::unexpected(name.error()));
    if (set || (set.error().code == EEXIST && existing == Existing::kKept)) continue;
    if (!is_refused_for_good(set.error(), place)) return set;
    note_refused(id, guest_name, set.error());
  }
  return {};
}

Result<void> LowerMetadata::copy_times(tree::NodeId id, Place place) {
  const auto& record = lower_.tree.node(id);
  const struct timespec mtime = timespec_of(Time{.sec = record.mtime_sec, .nsec = record.mtime_nsec});
  return set_times_at(place, {mtime, mtime});
}

void LowerMetadata::note_refused(tree::NodeId id, std::string_view name, const Error& error) {
  const std::string text = str_cat(lower_.tree.path(id), ": the host does not keep its attribute ", name,
                                   " (", error.describe(), "): what is written has none");
  if (std::exchange(warned_, true)) return log_debug(text);
  log_warn(text, "; others like it are told at --debug");
}

}  // namespace layerboot::overlay
