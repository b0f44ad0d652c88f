#include "oci-mount/overlay/allocated_range.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace layerboot::overlay {

namespace {

constexpr unsigned kExtentsAtOnce = 32;

/// Up to where it is allocated from `from` on; -1 where the host does not say.
std::int64_t allocated_until(int fd, std::uint64_t from, std::uint64_t end) {
  alignas(struct fiemap)
      std::array<unsigned char, sizeof(struct fiemap) + kExtentsAtOnce * sizeof(struct fiemap_extent)>
          memory{};
  auto& map = *reinterpret_cast<struct fiemap*>(memory.data());
  map.fm_start = from;
  map.fm_length = end - from;
  map.fm_extent_count = kExtentsAtOnce;
  if (::ioctl(fd, FS_IOC_FIEMAP, &map) != 0) return -1;
  std::uint64_t at = from;
  for (unsigned i = 0; i < map.fm_mapped_extents; ++i) {
    const auto& extent = map.fm_extents[i];
    if (extent.fe_logical > at || (extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0) break;
    at = extent.fe_logical + extent.fe_length;
  }
  return static_cast<std::int64_t>(at);
}

}  // namespace

bool is_allocated(int fd, std::uint64_t offset, std::uint64_t end) {
  std::uint64_t at = offset;
  for (unsigned seen = 0; at < end && seen < kMostExtents; seen += kExtentsAtOnce) {
    const std::int64_t until = allocated_until(fd, at, end);
    if (until < 0) return ::lseek(fd, static_cast<off_t>(at), SEEK_HOLE) >= static_cast<off_t>(end);
    if (static_cast<std::uint64_t>(until) <= at) return false;
    at = static_cast<std::uint64_t>(until);
  }
  return at >= end;
}

}  // namespace layerboot::overlay
