#include "vfsd/fuse/privileges.h"

#include <sys/stat.h>

#include "oci-mount/base/mode_bits.h"

namespace layerboot::vfsd::fuse {

namespace {}  // namespace

std::uint64_t attr_valid_seconds(const vfs::Attr& attr, std::uint64_t entry_seconds) {
  return S_ISREG(attr.mode) && (attr.mode & kSetIdBits) != 0 ? 0 : entry_seconds;
}

bool names_nothing(const fuse_setattr_in& in) {
  // With WRITEBACK_CACHE, chown(2) with nothing to change tells the time of change, which the client owns.
  constexpr std::uint32_t kNoChange = FATTR_FH | FATTR_LOCKOWNER | FATTR_CTIME | FATTR_KILL_SUIDGID;
  return (in.valid & ~kNoChange) == 0;
}

std::uint32_t without_privileges(const vfs::Attr& attr, std::uint32_t uid, std::uint32_t gid) {
  if (S_ISDIR(attr.mode)) return attr.mode & kPermissionBits;
  std::uint32_t mode = attr.mode & kPermissionBits & ~std::uint32_t{S_ISUID};
  const bool may_keep_group = uid == 0 || gid == attr.gid;
  if ((mode & S_IXGRP) != 0 || !may_keep_group) mode &= ~std::uint32_t{S_ISGID};
  return mode;
}

void PendingDrops::add(vfs::NodeId node, std::uint32_t pid) {
  const std::lock_guard lock(mutex_);
  if (pids_.size() >= kMaxRemembered && !pids_.contains(node)) {
    has_forgotten_ = true;
    pids_.clear();
  }
  pids_[node] = pid;
  remembered_ = pids_.size();
}

bool PendingDrops::take(vfs::NodeId node, std::uint32_t pid) {
  if (has_forgotten_) return true;
  if (remembered_ == 0) return false;
  const std::lock_guard lock(mutex_);
  const auto found = pids_.find(node);
  if (found == pids_.end() || found->second != pid) return false;
  pids_.erase(found);
  remembered_ = pids_.size();
  return true;
}

void PendingDrops::clear() {
  const std::lock_guard lock(mutex_);
  pids_.clear();
  remembered_ = 0;
  has_forgotten_ = false;
}

}  // namespace layerboot::vfsd::fuse
