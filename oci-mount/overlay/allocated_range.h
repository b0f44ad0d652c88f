// What of a file is allocated on the host, and written.
#pragma once

#include <cstdint>
#include <optional>

namespace layerboot::overlay {

/// Whether every block of [offset, end) is allocated, written or not and within the file or beyond its end,
/// and may be written without taking more: not where the range is shared with other files, or lies in the
/// inode. Asks the host (FS_IOC_FIEMAP, else SEEK_HOLE), so only when there is no room to assume the worst.
/// False where the host does not say, and in a range of more than kMostExtents pieces.
[[nodiscard]] bool is_allocated(int fd, std::uint64_t offset, std::uint64_t end);

/// Whether an overwrite of the file takes no more, on a host that else writes anew and keeps what was there
/// for a while (Tariff::copies_on_write). False where the host does not say.
[[nodiscard]] bool is_written_in_place(int fd);

/// What is made in the directory is to be so, where the host can do that: on btrfs, not where it is to
/// compress it. Nothing on hosts that always do.
void write_in_place_below(int directory_fd);

inline constexpr unsigned kMostExtents = 1024;

/// Bytes of blocks from `from` on, which is the end of one; of the first 32 extents there. 0 where the host
/// does not say.
[[nodiscard]] std::uint64_t allocated_from(int fd, std::uint64_t from);

/// Whether blocks beyond the file's end, or without data, are there because somebody has asked for them: then
/// the host does not take them back (XFS: FS_XFLAG_PREALLOC). False where the host does not say.
[[nodiscard]] bool is_preallocated(int fd);

/// Up to where a file has no extent that is allocated but not written, as it is on the disk; UINT64_MAX where
/// it has none at all. Nothing where the host does not say, or has more than kMostExtents before it.
[[nodiscard]] std::optional<std::uint64_t> first_unwritten(int fd);

}  // namespace layerboot::overlay
