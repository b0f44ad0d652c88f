#include "oci-mount/overlay/allocated_range.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>

#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/tariff.h"

namespace layerboot::overlay {

namespace {

constexpr unsigned kExtentsAtOnce = 32;
/// Written to, it moves.
constexpr std::uint32_t kTakesMore = FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_DATA_INLINE;

/// Some of the extents of a file.
class Extents {
 public:
  /// Nothing where the host does not say.
  static std::optional<Extents> of(int fd, std::uint64_t from, std::uint64_t end) {
    Extents extents;
    auto& map = *reinterpret_cast<struct fiemap*>(extents.memory_.data());
    map.fm_start = from;
    map.fm_length = end - from;
    map.fm_extent_count = kExtentsAtOnce;
    if (::ioctl(fd, FS_IOC_FIEMAP, &map) != 0) return std::nullopt;
    return extents;
  }
  [[nodiscard]] std::span<const struct fiemap_extent> all() const {
    const auto& map = *reinterpret_cast<const struct fiemap*>(memory_.data());
    return {&map.fm_extents[0], map.fm_mapped_extents};
  }

 private:
  alignas(struct fiemap) std::array<
      unsigned char, sizeof(struct fiemap) + kExtentsAtOnce * sizeof(struct fiemap_extent)> memory_{};
};

/// Up to where it is allocated from `from` on; -1 where the host does not say.
std::int64_t allocated_until(int fd, std::uint64_t from, std::uint64_t end) {
  const auto extents = Extents::of(fd, from, end);
  if (!extents) return -1;
  std::uint64_t at = from;
  for (const auto& extent : extents->all()) {
    if (extent.fe_logical > at || (extent.fe_flags & kTakesMore) != 0) break;
    at = extent.fe_logical + extent.fe_length;
  }
  return static_cast<std::int64_t>(at);
}

/// A page of tmpfs goes on beyond the file's end; of other hosts nothing is known there.
bool has_no_hole(int fd, std::uint64_t from, std::uint64_t end) {
  const bool has_pages = host_kind_of(fd) == HostKind::kTmpfs;
  // Nothing is told of what begins at the end.
  const off_t hole = ::lseek(fd, static_cast<off_t>(has_pages ? block_start(from) : from), SEEK_HOLE);
  if (hole < 0) return false;
  const auto until = static_cast<std::uint64_t>(hole);
  return (has_pages ? block_end(until) : until) >= end;
}

}  // namespace

std::uint64_t allocated_from(int fd, std::uint64_t from) {
  const auto extents = Extents::of(fd, from, FIEMAP_MAX_OFFSET);
  if (!extents) return 0;
  std::uint64_t bytes = 0;
  for (const auto& extent : extents->all()) {
    const std::uint64_t end = extent.fe_logical + extent.fe_length;
    bytes += end - std::min(end, std::max<std::uint64_t>(from, extent.fe_logical));
  }
  return bytes;
}

bool is_preallocated(int fd) {
  struct fsxattr attributes{};
  return ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 && (attributes.fsx_xflags & FS_XFLAG_PREALLOC) != 0;
}

bool is_written_in_place(int fd) {
  int flags = 0;
  return ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL) != 0;
}

void write_in_place_below(int directory_fd) {
  int flags = 0;
  if (::ioctl(directory_fd, FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_NOCOW_FL) != 0) return;
  const auto set = [&] { static_cast<void>(::ioctl(directory_fd, FS_IOC_SETFLAGS, &flags)); };
  // The one is refused as long as the other is there.
  if ((flags & FS_COMPR_FL) != 0) {
    flags &= ~FS_COMPR_FL;
    set();
  }
  flags |= FS_NOCOW_FL;
  set();
}

bool is_allocated(int fd, std::uint64_t offset, std::uint64_t end) {
  std::uint64_t at = offset;
  for (unsigned seen = 0; at < end && seen < kMostExtents; seen += kExtentsAtOnce) {
    const std::int64_t until = allocated_until(fd, at, end);
    if (until < 0) return has_no_hole(fd, at, end);
    if (static_cast<std::uint64_t>(until) <= at) return false;
    at = static_cast<std::uint64_t>(until);
  }
  return at >= end;
}

std::optional<std::uint64_t> first_unwritten(int fd) {
  constexpr std::uint32_t kNotWritten =
      FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN;
  std::uint64_t at = 0;
  for (unsigned seen = 0; seen < kMostExtents; seen += kExtentsAtOnce) {
    const auto extents = Extents::of(fd, at, FIEMAP_MAX_OFFSET);
    if (!extents) return std::nullopt;
    if (extents->all().empty()) return UINT64_MAX;
    for (const auto& extent : extents->all()) {
      if ((extent.fe_flags & kNotWritten) != 0) return extent.fe_logical;
      if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) return UINT64_MAX;
      at = extent.fe_logical + extent.fe_length;
    }
  }
  return std::nullopt;
}

}  // namespace layerboot::overlay
