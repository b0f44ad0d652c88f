#include "oci-mount/overlay/lower.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/io_slices.h"
#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::overlay {

namespace {

/// A stretch of a read: file bytes [begin, end), in one extent or in a hole (extent == nullptr).
struct Stretch {
  std::uint64_t begin;
  std::uint64_t end;
  const tree::ExtentRecord* extent;
};

/// The stretch that holds `position`, ending at `limit` at the latest.
Stretch stretch_at(std::span<const tree::ExtentRecord> extents, std::uint64_t position, std::uint64_t limit) {
  const auto after = std::upper_bound(
      extents.begin(), extents.end(), position,
      [](std::uint64_t at, const tree::ExtentRecord& extent) { return at < extent.file_offset; });
  if (after != extents.begin()) {
    const auto& extent = *(after - 1);
    const std::uint64_t extent_end = extent.file_offset + extent.length_bytes;
    if (position < extent_end) return {position, std::min(limit, extent_end), &extent};
  }
  const std::uint64_t hole_end = after == extents.end() ? limit : std::min(limit, after->file_offset);
  return {position, hole_end, nullptr};
}

/// How many of `wanted` bytes a file of `size_bytes` has from `offset` on.
std::uint64_t clip(std::uint64_t size_bytes, std::uint64_t offset, std::uint64_t wanted) {
  return offset >= size_bytes ? 0 : std::min(wanted, size_bytes - offset);
}

bool is_regular(const tree::NodeRecord& node) { return S_ISREG(node.mode); }

}  // namespace

Attr Lower::attr(tree::NodeId id) const {
  const auto& node = tree.node(id);
  const Time mtime{node.mtime_sec, node.mtime_nsec};
  return {.ino = id,
          .size_bytes = node.size_bytes,
          .blocks = node.blocks,
          .atime = mtime,
          .mtime = mtime,
          .ctime = mtime,
          .mode = node.mode,
          .nlink = node.nlink,
          .uid = node.uid,
          .gid = node.gid,
          .rdev = node.rdev};
}

Result<std::int64_t> Lower::try_read(tree::NodeId id, std::uint64_t offset,
                                     std::span<const iovec> into) const {
  const auto& node = tree.node(id);
  if (!is_regular(node)) return fail(EINVAL);
  const std::uint64_t count = clip(node.size_bytes, offset, total_bytes(into));
  const auto extents = tree.extents(id);
  static thread_local std::vector<iovec> part;
  for (std::uint64_t done = 0; done < count;) {
    const Stretch stretch = stretch_at(extents, offset + done, offset + count);
    const std::uint64_t length = stretch.end - stretch.begin;
    if (stretch.extent == nullptr) {
      zero_slices(into, done, length);
    } else {
      sub_slices(into, done, length, part);
      const std::uint64_t at = stretch.extent->stream_offset + (stretch.begin - stretch.extent->file_offset);
      if (!reader.try_read(stretch.extent->layer, at, part)) return kWouldWait;
    }
    done += length;
  }
  return static_cast<std::int64_t>(count);
}

Task<Result<std::size_t>> Lower::read(Reactor& reactor, tree::NodeId id, std::uint64_t offset,
                                      std::span<const iovec> into) const {
  const auto& node = tree.node(id);
  if (!is_regular(node)) co_return fail(EINVAL);
  const std::uint64_t count = clip(node.size_bytes, offset, total_bytes(into));
  const auto extents = tree.extents(id);
  std::vector<iovec> part;
  for (std::uint64_t done = 0; done < count;) {
    const Stretch stretch = stretch_at(extents, offset + done, offset + count);
    const std::uint64_t length = stretch.end - stretch.begin;
    if (stretch.extent == nullptr) {
      zero_slices(into, done, length);
    } else {
      sub_slices(into, done, length, part);
      const std::uint64_t at = stretch.extent->stream_offset + (stretch.begin - stretch.extent->file_offset);
      auto filled = co_await reader.read(reactor, stretch.extent->layer, at, part);
      if (!filled) co_return std::unexpected(std::move(filled.error()));
    }
    done += length;
  }
  co_return static_cast<std::size_t>(count);
}

bool Lower::serves_xattr(tree::NodeId id, std::string_view name) const {
  const auto value = tree.xattr(id, name);
  if (!value || !is_served_xattr(name)) return false;
  return !is_acl_xattr(name) || Acl::parse(*value);
}

Result<std::string> Lower::getxattr(tree::NodeId id, std::string_view name) const {
  const auto value = tree.xattr(id, name);
  if (!value || !serves_xattr(id, name)) return fail(ENODATA);
  return std::string(*value);
}

std::string Lower::listxattr(tree::NodeId id) const {
  std::string names;
  for (const auto& xattr : tree.xattrs(id)) {
    const auto name = tree.xattr_name(xattr);
    if (serves_xattr(id, name)) names.append(name).push_back('\0');
  }
  return names;
}

Result<std::uint64_t> Lower::seek(tree::NodeId id, std::uint64_t offset, int whence) const {
  const auto& node = tree.node(id);
  if (!is_regular(node)) return fail(EINVAL);
  if (offset >= node.size_bytes) return fail(ENXIO);
  const auto extents = tree.extents(id);
  while (offset < node.size_bytes) {
    const Stretch stretch = stretch_at(extents, offset, node.size_bytes);
    const bool is_data = stretch.extent != nullptr;
    if (is_data == (whence == SEEK_DATA)) return offset;
    offset = stretch.end;
  }
  if (whence == SEEK_HOLE) return node.size_bytes;
  return fail(ENXIO);
}

}  // namespace layerboot::overlay
