// File contents and attributes: reading, writing, and what else changes an object in place.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/io_slices.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

constexpr std::uint64_t kBlockBytes = 4096;

std::uint64_t block_start(std::uint64_t at) { return at / kBlockBytes * kBlockBytes; }
std::uint64_t block_end(std::uint64_t at) { return block_start(at + kBlockBytes - 1); }

bool range_wraps(std::uint64_t offset, std::uint64_t length) {
  return offset > INT64_MAX || length > INT64_MAX - offset;
}

/// What a write of [offset, end) may allocate at most: nothing, when it stays within a file without holes.
std::uint64_t worst_growth(const Attr& attr, std::uint64_t offset, std::uint64_t end) {
  const bool dense = attr.blocks * 512 >= block_end(attr.size_bytes);
  if (dense && end <= attr.size_bytes) return 0;
  return block_end(end) - block_start(offset);
}

struct timespec timespec_of(const std::optional<TimeChange>& change) {
  if (!change) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  if (change->now) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  return {.tv_sec = change->time.sec, .tv_nsec = static_cast<long>(change->time.nsec)};
}

/// The mode without the bits that a change by someone else takes away; as Linux's should_remove_suid().
std::uint32_t without_set_id(std::uint32_t mode) {
  mode &= ~static_cast<std::uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return mode;
}

}  // namespace

Result<std::int64_t> Overlay::try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into) {
  if (untouched(id)) return lower_.try_read(static_cast<tree::NodeId>(id), offset, into);
  FdCache::Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_ASSIGN(const Ref ref, find(id));
    if (!ref.node || !ref.node->in_upper) return lower_.try_read(ref.lower, offset, into);
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
    if (ref.node && ref.node->in_upper) {
      LB_CO_ASSIGN(fd, file_fd(ref.node));
    }
  }
  if (!fd) {
    auto got = co_await lower_.read(reactor, lower, offset, into);
    co_return got;
  }
  const std::size_t wanted = total_bytes(into);
  if (range_wraps(offset, wanted)) co_return fail(EINVAL);
  std::size_t done = 0;
  std::vector<iovec> rest(into.begin(), into.end());
  while (done < wanted) {
    auto got = co_await reactor.readv(fd->get(), rest, offset + done);
    if (!got) co_return std::unexpected(got.error());
    if (*got == 0) break;
    done += *got;
    sub_slices(into, done, wanted - done, rest);
  }
  co_return done;
}

Task<Result<std::size_t>> Overlay::write(Reactor& reactor, NodeId id, std::uint64_t offset,
                                         std::span<const iovec> from, bool kill_suid_sgid) {
  const std::size_t length = total_bytes(from);
  if (range_wraps(offset, length)) co_return fail(EFBIG);
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = *copied;
  FdCache::Fd fd;
  std::uint64_t growth = 0;
  Quota::Reservation reserved;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, file_fd(node));
    LB_CO_ASSIGN(const Attr attr, attr_of(*node));
    growth = worst_growth(attr, offset, offset + length);
    if (growth > 0) {
      LB_CO_ASSIGN(reserved, quota_.reserve(growth, 0));
    }
    if (kill_suid_sgid && without_set_id(attr.mode) != attr.mode) {
      if (::fchmod(fd->get(), without_set_id(attr.mode) & 07777U) != 0) co_return fail(errno);
    }
  }
  std::size_t done = 0;
  std::vector<iovec> rest(from.begin(), from.end());
  Error error{0, {}};
  while (done < length && error.code == 0) {
    auto put = co_await reactor.writev(fd->get(), rest, offset + done);
    if (!put) {
      error = put.error();
    } else {
      done += *put;
      sub_slices(from, done, length - done, rest);
    }
  }
  const std::lock_guard lock(mutex_);
  node->attr_valid = false;
  // Settled now, so that the next reservation sees what this one became.
  if (growth > 0 && !node->removed) {
    if (auto st = stat_at({fd->get(), ""}); st) book(*node, *st);
  }
  if (done == 0 && error.code != 0) co_return std::unexpected(std::move(error));
  co_return done;
}

Task<Result<void>> Overlay::fsync(Reactor& reactor, NodeId id, bool data_only) {
  FdCache::Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(const Ref ref, find(id));
    if (!ref.node || !ref.node->in_upper || ref.node->removed) co_return Result<void>();  // nothing to lose
    if (ref.node->is_directory()) {
      LB_CO_ASSIGN(fd, directory_fd(ref.node));
    } else {
      LB_CO_ASSIGN(fd, file_fd(ref.node));
    }
  }
  auto synced = co_await reactor.fsync(fd->get(), data_only);
  if (!synced) co_return std::unexpected(synced.error());
  co_return Result<void>();
}

Task<Result<void>> Overlay::fallocate(Reactor& reactor, NodeId id, std::uint32_t mode, std::uint64_t offset,
                                      std::uint64_t length_bytes) {
  if (range_wraps(offset, length_bytes)) co_return fail(EFBIG);
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = *copied;
  FdCache::Fd fd;
  Quota::Reservation reserved;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, file_fd(node));
    const bool frees = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) != 0;
    if (!frees) {
      LB_CO_ASSIGN(reserved, quota_.reserve(block_end(offset + length_bytes) - block_start(offset), 0));
    }
  }
  auto allocated = co_await reactor.fallocate(fd->get(), static_cast<int>(mode), offset, length_bytes);
  const std::lock_guard lock(mutex_);
  node->attr_valid = false;
  if (auto st = stat_at({fd->get(), ""}); st && !node->removed) book(*node, *st);
  if (!allocated) co_return std::unexpected(allocated.error());
  co_return Result<void>();
}

Result<std::uint64_t> Overlay::lseek(NodeId id, std::uint64_t offset, std::uint32_t whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(EINVAL);
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  if (!ref.node || !ref.node->in_upper) return lower_.seek(ref.lower, offset, static_cast<int>(whence));
  LB_ASSIGN(const auto fd, file_fd(ref.node));
  if (offset > INT64_MAX) return fail(ENXIO);
  const off_t at = ::lseek(fd->get(), static_cast<off_t>(offset), static_cast<int>(whence));
  if (at < 0) return fail(errno);
  return static_cast<std::uint64_t>(at);
}

Task<Result<Attr>> Overlay::setattr(Reactor& reactor, NodeId id, AttrChange change) {
  // What a truncation cuts off need not be copied.
  auto copied = co_await copy_up(reactor, id, change.size_bytes.value_or(kAllData));
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = *copied;
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
    if (::ftruncate(fd->get(), static_cast<off_t>(*change.size_bytes)) != 0) return fail(errno);
  }
  std::optional<std::uint32_t> mode = change.mode;
  if (change.uid || change.gid) {
    LB_TRY(set_owner_at(place.get(), change.uid.value_or(UINT32_MAX), change.gid.value_or(UINT32_MAX)));
    // The host cleared set-id bits if it saw fit; the client says itself when it wants that.
    if (!mode && !change.kill_suid_sgid && node->is_regular() && node->attr_valid) mode = node->attr.mode;
  }
  if (change.kill_suid_sgid && node->is_regular()) {
    node->attr_valid = false;
    LB_ASSIGN(const Attr attr, attr_of(*node));
    mode = without_set_id(mode.value_or(attr.mode));
  }
  if (mode) {
    if (S_ISLNK(node->type)) return fail(EOPNOTSUPP);
    LB_TRY(set_mode_at(place.get(), *mode));
  }
  if (change.atime || change.mtime) {
    LB_TRY(set_times_at(place.get(), {timespec_of(change.atime), timespec_of(change.mtime)}));
  }
  return {};
}

}  // namespace layerboot::overlay
