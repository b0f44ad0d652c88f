// Rules of Linux that hold for every writable file system here, whatever keeps its files. Pure functions.
#pragma once

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <cstdint>
#include <optional>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/overlay/types.h"

namespace layerboot::overlay {

[[nodiscard]] inline Time time_of(const struct timespec& time) {
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}
[[nodiscard]] inline struct timespec timespec_of(const Time& time) {
  return {.tv_sec = time.sec, .tv_nsec = static_cast<long>(time.nsec)};
}

/// What a file's data is allocated in, at most.
inline constexpr std::uint64_t kDataBlockBytes = 4096;

[[nodiscard]] constexpr std::uint64_t block_start(std::uint64_t at) {
  return at / kDataBlockBytes * kDataBlockBytes;
}
[[nodiscard]] constexpr std::uint64_t block_end(std::uint64_t at) {
  return block_start(at + kDataBlockBytes - 1);
}

/// What a new directory, device or long symlink takes at least, an empty file takes at most, and is to be had
/// for any new name: its directory may grow by it, by two blocks at once where the host begins to index it
/// (ext4), and must not pass the budget by both.
inline constexpr std::uint64_t kNewObjectBytes = kDataBlockBytes;
/// What extended attributes may take outside the inode.
inline constexpr std::uint64_t kXattrBlockBytes = kDataBlockBytes;

[[nodiscard]] constexpr bool range_wraps(std::uint64_t offset, std::uint64_t length) {
  return offset > INT64_MAX || length > INT64_MAX - offset;
}

/// For utimensat(2).
[[nodiscard]] inline struct timespec timespec_of(const std::optional<TimeChange>& change) {
  if (!change) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  if (change->now) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  return timespec_of(change->time);
}

/// As ext4; others, of kernels to come, are refused in the one way that clients understand.
[[nodiscard]] constexpr bool is_served_fallocate(std::uint32_t mode) {
  switch (mode) {
    case 0:
    case FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
      return true;
    default:
      return false;
  }
}

/// The mode without the bits that a change by someone else takes away; as Linux's should_remove_suid().
[[nodiscard]] constexpr std::uint32_t without_set_id(std::uint32_t mode) {
  mode &= ~static_cast<std::uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return mode;
}

/// A directory with S_ISGID hands down its group, and to directories the bit: what the host would do if the
/// caller made the object itself. A caller who is not of that group can't make its file setgid
/// (CVE-2022-0358).
inline void inherit_group(const Attr& directory, std::uint32_t& mode, Caller& caller) {
  if ((directory.mode & S_ISGID) == 0) return;
  const bool member = caller.uid == 0 || caller.gid == directory.gid || caller.also_in == directory.gid;
  caller.gid = directory.gid;
  if (S_ISDIR(mode)) {
    mode |= S_ISGID;
  } else if (!member && (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) {
    mode &= ~static_cast<std::uint32_t>(S_ISGID);
  }
}

}  // namespace layerboot::overlay
