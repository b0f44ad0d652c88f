// File contents and attributes: reading, writing, and what else changes an object in place.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/whole_io.h"
#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

/// A write into the page cache takes microseconds. One that takes longer than this was made to wait by the
/// host, so the next kPatientWrites go through the ring, where others need not wait for them.
constexpr std::chrono::milliseconds kSlowWrite{2};
constexpr std::uint32_t kPatientWrites = 64;

}  // namespace

Result<std::int64_t> Overlay::try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into) {
  if (untouched(id)) return lower_.try_read(static_cast<tree::NodeId>(id), offset, into);
  FdCache::Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_ASSIGN(const Ref ref, find(id));
    if (ref.has_lower_data()) return lower_.try_read(ref.lower, offset, into);
    LB_ASSIGN(fd, file_fd(ref.node));
  }
  if (range_wraps(offset, total_bytes(into))) return fail(EINVAL);
  const ssize_t got = ::preadv2(fd->get(), into.data(), static_cast<int>(into.size()),
                                static_cast<off_t>(offset), RWF_NOWAIT);
  // Part of it may be in memory and the rest not: then the count is short but the file has not ended.
  if (got < 0 || static_cast<std::size_t>(got) < total_bytes(into)) return Lower::kWouldWait;
  return got;
}

Task<Result<std::size_t>> Overlay::read(Reactor& reactor, NodeId id, std::uint64_t offset,
                                        std::span<const iovec> into) {
  FdCache::Fd fd;
  tree::NodeId lower = tree::kNoNode;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(const Ref ref, find(id));
    lower = ref.lower;
    if (!ref.has_lower_data()) {
      LB_CO_ASSIGN(fd, file_fd(ref.node));
    }
  }
  if (!fd) {
    auto got = co_await lower_.read(reactor, lower, offset, into);
    co_return got;
  }
  if (range_wraps(offset, total_bytes(into))) co_return fail(EINVAL);
  auto got = co_await read_whole(reactor, fd->get(), into, offset);
  co_return got;
}

/// What a write of [offset, end) may allocate at most: nothing, when it stays within a file without holes.
/// Blocks alone do not tell: some may be allocated past its end.
std::uint64_t Overlay::worst_growth(Node& node, int fd, std::uint64_t offset, std::uint64_t end) {
  const Attr& attr = node.attr;
  if (end <= attr.size_bytes && attr.blocks * 512 >= block_end(attr.size_bytes)) {
    if (!node.dense) node.dense = ::lseek(fd, 0, SEEK_HOLE) >= static_cast<off_t>(attr.size_bytes);
    if (*node.dense) return 0;
  }
  return block_end(end) - block_start(offset);
}

/// What must be known and reserved before bytes are written to a file of the upper.
Result<Overlay::WriteGrant> Overlay::prepare_write(const NodePtr& node, std::uint64_t offset,
                                                   std::uint64_t length, bool kill_suid_sgid) {
  WriteGrant grant;
  LB_ASSIGN(grant.fd, file_fd(node));
  if (!node->attr_valid) LB_TRY(attr_of(*node));
  const Attr& attr = node->attr;
  grant.size_bytes = attr.size_bytes;
  const std::uint64_t end = offset + length;
  grant.growth_bytes = worst_growth(*node, grant.fd->get(), offset, end);
  grant.leaves_hole = offset > attr.size_bytes;
  if (grant.growth_bytes > 0) {
    LB_ASSIGN(grant.reserved, quota_.reserve(grant.growth_bytes, 0));
  }
  if (kill_suid_sgid && without_set_id(attr.mode) != attr.mode) {
    LB_TRY(set_nature(*node, {grant.fd->get(), ""},
                      {.mode = without_set_id(attr.mode), .uid = attr.uid, .gid = attr.gid, .rdev = 0},
                      Owner::kStays));
  }
  LB_TRY(drop_capability(*node, {grant.fd->get(), ""}));
  return grant;
}

void Overlay::settle_write(const NodePtr& node, WriteGrant grant) {
  if (grant.leaves_hole) node->dense.reset();
  if (node->removed) return;
  if (grant.growth_bytes == 0 && node->attr_valid && node->attr.size_bytes == grant.size_bytes) {
    node->times_stale = true;  // written within the file: it is as large as before
    return;
  }
  node->grows_late = true;
  node->attr_valid = false;
  // Settled now, so that the next reservation sees what this one became.
  if (grant.growth_bytes > 0) {
    if (auto st = stat_at({grant.fd->get(), ""}); st) book(*node, *st);
  }
}

Result<std::int64_t> Overlay::try_write(NodeId id, std::uint64_t offset, std::span<const iovec> from,
                                        bool kill_suid_sgid) {
  const std::size_t length = total_bytes(from);
  if (range_wraps(offset, length)) return fail(EFBIG);
  if (untouched(id)) return Lower::kWouldWait;
  if (auto patient = patient_writes_.load(std::memory_order_relaxed); patient > 0) {
    patient_writes_.compare_exchange_strong(patient, patient - 1, std::memory_order_relaxed);
    return Lower::kWouldWait;
  }
  std::optional<Pin> pin;  // outlives the lock
  WriteGrant grant;
  {
    const std::lock_guard lock(mutex_);
    LB_ASSIGN(const Ref ref, find(id));
    if (ref.has_lower_data() || ref.node->removed) return Lower::kWouldWait;
    pin.emplace(*this, ref.node);
    LB_ASSIGN(grant, prepare_write(ref.node, offset, length, kill_suid_sgid));
  }
  const auto start = std::chrono::steady_clock::now();
  const ssize_t put =
      ::pwritev(grant.fd->get(), from.data(), static_cast<int>(from.size()), static_cast<off_t>(offset));
  const int code = errno;
  if (std::chrono::steady_clock::now() - start > kSlowWrite) {
    patient_writes_.store(kPatientWrites, std::memory_order_relaxed);
  }
  const std::lock_guard lock(mutex_);
  settle_write(pin->node(), std::move(grant));
  if (put < 0) return fail(code);
  // The rest of a short write says why it was short.
  return static_cast<std::size_t>(put) == length ? put : Lower::kWouldWait;
}

Task<Result<std::size_t>> Overlay::write(Reactor& reactor, NodeId id, std::uint64_t offset,
                                         std::span<const iovec> from, bool kill_suid_sgid) {
  const std::size_t length = total_bytes(from);
  if (range_wraps(offset, length)) co_return fail(EFBIG);
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = copied->node();
  WriteGrant grant;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(grant, prepare_write(node, offset, length, kill_suid_sgid));
  }
  auto put = co_await write_whole(reactor, grant.fd->get(), from, offset);
  const std::lock_guard lock(mutex_);
  settle_write(node, std::move(grant));
  co_return put;
}

Task<Result<void>> Overlay::fsync(Reactor& reactor, NodeId id, bool data_only) {
  std::optional<Pin> pin;  // outlives the locks
  FdCache::Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(const Ref ref, find(id));
    if (!ref.node || !ref.node->in_upper || ref.node->removed) co_return Result<void>();  // nothing to lose
    pin.emplace(*this, ref.node);
    if (ref.node->is_directory()) {
      LB_CO_ASSIGN(fd, directory_fd(ref.node));
    } else {
      LB_CO_ASSIGN(fd, file_fd(ref.node));
    }
  }
  auto synced = co_await reactor.fsync(fd->get(), data_only);
  if (!synced) co_return std::unexpected(synced.error());
  const std::lock_guard lock(mutex_);
  Node& node = *pin->node();
  if (node.is_regular() && !node.removed) {
    // Only now has the host allocated what it had delayed, with blocks for its tree of extents on top.
    if (auto st = stat_at({fd->get(), ""}); st) book(node, *st);
  }
  co_return Result<void>();
}

Task<Result<void>> Overlay::fallocate(Reactor& reactor, NodeId id, std::uint32_t mode, std::uint64_t offset,
                                      std::uint64_t length_bytes) {
  if (range_wraps(offset, length_bytes)) co_return fail(EFBIG);
  if (!is_served_fallocate(mode)) co_return fail(EOPNOTSUPP);
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = copied->node();
  FdCache::Fd fd;
  Quota::Reservation reserved;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, file_fd(node));
    LB_CO_TRY(drop_capability(*node, {fd->get(), ""}));
    const bool frees = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) != 0;
    if (!frees) {
      LB_CO_ASSIGN(reserved, quota_.reserve(block_end(offset + length_bytes) - block_start(offset), 0));
    }
  }
  auto allocated = co_await reactor.fallocate(fd->get(), static_cast<int>(mode), offset, length_bytes);
  const std::lock_guard lock(mutex_);
  node->grows_late = true;
  node->dense.reset();
  node->attr_valid = false;
  if (auto st = stat_at({fd->get(), ""}); st && !node->removed) book(*node, *st);
  if (!allocated) co_return std::unexpected(allocated.error());
  co_return Result<void>();
}

Result<std::uint64_t> Overlay::lseek(NodeId id, std::uint64_t offset, std::uint32_t whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(EINVAL);
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  if (ref.has_lower_data()) return lower_.seek(ref.lower, offset, static_cast<int>(whence));
  LB_ASSIGN(const auto fd, file_fd(ref.node));
  if (offset > INT64_MAX) return fail(ENXIO);
  const off_t at = ::lseek(fd->get(), static_cast<off_t>(offset), static_cast<int>(whence));
  if (at < 0) return fail(errno);
  return static_cast<std::uint64_t>(at);
}

Task<Result<Attr>> Overlay::setattr(Reactor& reactor, NodeId id, AttrChange change) {
  // What a truncation cuts off need not be copied.
  auto copied = co_await copy_up(reactor, id, change.size_bytes);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = copied->node();
  const std::lock_guard lock(mutex_);
  auto applied = apply(node, change);
  node->attr_valid = false;
  if (!applied) co_return std::unexpected(applied.error());
  co_return attr_of(*node);
}

Result<void> Overlay::apply(const NodePtr& node, const AttrChange& change) {
  LB_ASSIGN(const HeldPlace place, place_of(node));
  if (change.size_bytes) {
    if (*change.size_bytes > INT64_MAX) return fail(EFBIG);
    LB_ASSIGN(const auto fd, file_fd(node));
    node->dense.reset();
    if (::ftruncate(fd->get(), static_cast<off_t>(*change.size_bytes)) != 0) return fail(errno);
  }
  if (change.mode && S_ISLNK(node->type)) return fail(EOPNOTSUPP);
  const bool owner_changes = change.uid || change.gid;
  if (owner_changes || change.mode || change.kill_suid_sgid) {
    if (change.size_bytes) node->attr_valid = false;
    LB_ASSIGN(const Attr before, attr_of(*node));
    Nature nature{.mode = change.mode ? (before.mode & S_IFMT) | *change.mode : before.mode,
                  .uid = change.uid.value_or(before.uid),
                  .gid = change.gid.value_or(before.gid),
                  .rdev = before.rdev};
    // The host clears set-id bits when it sees fit; the client says itself when it wants that.
    if (change.kill_suid_sgid && node->is_regular()) nature.mode = without_set_id(nature.mode);
    LB_TRY(set_nature(*node, place.get(), nature, owner_changes ? Owner::kSet : Owner::kStays));
    if (change.mode) LB_TRY(follow_mode_in_acl(place.get(), nature.mode));
  }
  if (!node->is_directory() && (owner_changes || change.size_bytes)) {
    LB_TRY(drop_capability(*node, place.get()));
  }
  if (change.atime || change.mtime) {
    LB_TRY(set_times_at(place.get(), {timespec_of(change.atime), timespec_of(change.mtime)}));
  }
  if (change.mtime && node->filling) {
    LB_ASSIGN(const struct stat st, stat_at(place.get()));
    node->filling->mtime = st.st_mtim;
  }
  return {};
}

/// Also where the owner stays, chown(2) would take a file's capabilities away.
Result<void> Overlay::set_nature(Node& node, Place place, const Nature& nature, Owner owner) {
  node.attr_valid = false;
  if (keeping() == Keeping::kRecorded) {
    LB_TRY(set_nature_at(keeping(), place, nature));
    node.recorded = nature;
    return {};
  }
  if (owner == Owner::kSet) return set_nature_at(keeping(), place, nature);
  return set_mode_at(place, nature.mode);
}

/// What a host does by itself with an ACL of its own: chmod(2) changes it.
Result<void> Overlay::follow_mode_in_acl(Place place, std::uint32_t mode) {
  if (keeping() == Keeping::kNative) return {};
  LB_ASSIGN(const std::string name, host_xattr_name(keeping(), kAccessAclXattr));
  LB_ASSIGN(const auto text, get_xattr_at(place, name));
  auto acl = text ? Acl::parse(*text) : std::nullopt;
  if (!acl) return {};
  acl->set_permissions(mode);
  return set_xattr_at(place, name, acl->text(), 0);
}

/// What a host does by itself with a file's capabilities: whatever changes the file takes them away
/// (CVE-2021-20263).
Result<void> Overlay::drop_capability(Node& node, Place place) {
  if (keeping() == Keeping::kNative || node.no_capability) return {};
  LB_ASSIGN(const std::string name, host_xattr_name(keeping(), kCapabilityXattr));
  auto removed = remove_xattr_at(place, name);
  if (!removed && removed.error().code != ENODATA) return removed;
  node.no_capability = true;
  return {};
}

}  // namespace layerboot::overlay
