#include "oci-mount/overlay/lower.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

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

/// A read, cut where extents begin and end. Holes are zeroed on the way.
class ReadSteps {
 public:
  /// `part` takes the memory of one step. All are borrowed.
  ReadSteps(std::span<const tree::ExtentRecord> extents, std::uint64_t offset, std::uint64_t count,
            std::span<const iovec> into, std::vector<iovec>& part)
      : extents_(extents), offset_(offset), count_(count), into_(into), part_(part) {}

  /// The extent that the next data lies in, with `part` set; null at the end.
  const tree::ExtentRecord* next() {
    while (done_ < count_) {
      const Stretch stretch = stretch_at(extents_, offset_ + done_, offset_ + count_);
      const std::uint64_t length = stretch.end - stretch.begin;
      const std::uint64_t at = std::exchange(done_, done_ + length);
      if (stretch.extent == nullptr) {
        zero_slices(into_, at, length);
        continue;
      }
      sub_slices(into_, at, length, part_);
      stream_offset_ = stretch.extent->stream_offset + (stretch.begin - stretch.extent->file_offset);
      return stretch.extent;
    }
    return nullptr;
  }
  [[nodiscard]] std::uint64_t stream_offset() const { return stream_offset_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  std::span<const tree::ExtentRecord> extents_;
  std::uint64_t offset_;
  std::uint64_t count_;
  std::span<const iovec> into_;
  std::vector<iovec>& part_;
  std::uint64_t done_ = 0;
  std::uint64_t stream_offset_ = 0;
};

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

bool Lower::may_change(tree::NodeId id) const {
  const auto extents = tree.extents(id);
  return std::any_of(extents.begin(), extents.end(),
                     [this](const auto& extent) { return extent.layer >= fixed_layers; });
}

Result<std::int64_t> Lower::try_read(tree::NodeId id, std::uint64_t offset,
                                     std::span<const iovec> into) const {
  const auto& node = tree.node(id);
  if (!is_regular(node)) return fail(EINVAL);
  static thread_local std::vector<iovec> part;
  ReadSteps steps(tree.extents(id), offset, clip(node.size_bytes, offset, total_bytes(into)), into, part);
  while (const auto* extent = steps.next()) {
    if (!reader.try_read(extent->layer, steps.stream_offset(), part)) return kWouldWait;
  }
  return static_cast<std::int64_t>(steps.count());
}

Task<Result<std::size_t>> Lower::read(Reactor& reactor, tree::NodeId id, std::uint64_t offset,
                                      std::span<const iovec> into) const {
  const auto& node = tree.node(id);
  if (!is_regular(node)) co_return fail(EINVAL);
  std::vector<iovec> part;
  ReadSteps steps(tree.extents(id), offset, clip(node.size_bytes, offset, total_bytes(into)), into, part);
  while (const auto* extent = steps.next()) {
    auto filled = co_await reader.read(reactor, extent->layer, steps.stream_offset(), part);
    if (!filled) co_return std::unexpected(std::move(filled.error()));
  }
  co_return static_cast<std::size_t>(steps.count());
}

bool Lower::serves_xattr(tree::NodeId id, std::string_view name) const {
  const auto value = tree.xattr(id, name);
  if (!value || !is_served_xattr(name)) return false;
  if (!is_acl_xattr(name)) return true;
  const auto acl = Acl::parse(*value);
  return acl && (name == kDefaultAclXattr || !acl->is_minimal());
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

Result<std::string> Lower::attributed_paths(std::size_t most_bytes) const {
  std::string paths;
  // The root's are those of whatever is mounted there.
  for (tree::NodeId id = tree::kRoot + 1; id <= tree.node_count(); ++id) {
    if (tree.xattrs(id).empty() || listxattr(id).empty()) continue;
    const auto links = tree.links(id);
    if (links.empty()) paths.append(tree.path(id).substr(1)).push_back('\0');
    for (const tree::LinkRecord& link : links) {
      const std::string directory = tree.path(link.parent).substr(1);
      if (!directory.empty()) paths.append(directory).push_back('/');
      paths.append(tree.name(link)).push_back('\0');
      if (paths.size() > most_bytes) break;
    }
    if (paths.size() > most_bytes) return fail(E2BIG);
  }
  return paths;
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
