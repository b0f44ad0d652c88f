#include "vfsd/fuse/privileges.h"

#include <sys/stat.h>

namespace layerboot::vfsd::fuse {

namespace {

constexpr std::uint32_t kSetIdBits = S_ISUID | S_ISGID;

/// The client owns the time of change with WRITEBACK_CACHE, and tells it with chown(-1, -1) as well.
bool names_nothing(const fuse_setattr_in& in) {
  constexpr std::uint32_t kNoChange = FATTR_FH | FATTR_LOCKOWNER | FATTR_CTIME | FATTR_KILL_SUIDGID;
  return (in.valid & ~kNoChange) == 0;
}

/// S_ISGID where the group may not execute gives nobody a right. Linux leaves it to members of the group, and
/// to root; of members by a supplementary group no client tells.
bool loses_sgid_of_no_use(const Call& call, const vfs::Attr& attr) {
  if (S_ISDIR(attr.mode) || (attr.mode & (S_ISGID | S_IXGRP)) != S_ISGID) return false;
  const auto& header = call.exchange.header;
  return header.uid != 0 && header.gid != attr.gid;
}

}  // namespace

std::uint64_t attr_valid_seconds(const vfs::Attr& attr, std::uint64_t entry_seconds) {
  return S_ISREG(attr.mode) && (attr.mode & kSetIdBits) != 0 ? 0 : entry_seconds;
}

void add_dropped_privileges(const Call& call, const fuse_setattr_in& in, vfs::AttrChange& change) {
  const bool leaves_it_to_us = call.has_agreed_to(FUSE_HANDLE_KILLPRIV_V2);
  change.kill_suid_sgid = (in.valid & FATTR_KILL_SUIDGID) != 0 || (leaves_it_to_us && names_nothing(in));
  if (!change.kill_suid_sgid || change.mode || change.uid || change.gid) return;
  const auto attr = call.fs.getattr(call.node());
  if (!attr || !loses_sgid_of_no_use(call, *attr)) return;
  constexpr std::uint32_t kPermissionBits = 07777;
  change.mode = attr->mode & kPermissionBits & ~kSetIdBits;
}

}  // namespace layerboot::vfsd::fuse
