// File contents, attributes, and extended attributes.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>

#include "oci-mount/base/files.h"
#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/whole_io.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/vfs/share_fs.h"

namespace layerboot::vfs {

using overlay::range_wraps;

namespace {

constexpr std::string_view kServedXattrs = "user.";

}  // namespace

// ---- open files ----------------------------------------------------------------------------------------

/// Anew. Only regular files are ever opened, whoever puts a fifo or a device node in their place meanwhile.
Result<ShareFs::Fd> ShareFs::open_anew(ShareNode& node, int access) {
  if (!S_ISREG(node.identity.type)) return fail(EINVAL);
  if (read_only_ && access != O_RDONLY) return fail(EROFS);
  LB_ASSIGN(UniqueFd fd, open_node(node, access, access == O_RDONLY ? Want::kRead : Want::kWrite));
  return std::make_shared<const UniqueFd>(std::move(fd));
}

Result<Opened> ShareFs::open_file(NodeId id, std::uint32_t flags) {
  const std::uint32_t access = flags & O_ACCMODE;
  if (access == O_ACCMODE) return fail(EINVAL);
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  Fd fd = opens_.join(id, access);
  if (!fd) {
    if (!has_room()) return fail(ENFILE);
    LB_ASSIGN(fd, open_anew(*node, static_cast<int>(access)));
    opens_.add(id, access, fd);
  }
  Opened opened{.handle = access, .keep_pages = false};
  if (const auto seen = look_at({fd->get(), ""}); seen) {
    opened.keep_pages = node->opened == seen->attr.ctime;
    node->opened = seen->attr.ctime;
  }
  return opened;
}

void ShareFs::release_file(NodeId id, std::uint64_t handle) {
  Fd last;  // closed without the lock: a network's file system writes back then
  if (handle > O_RDWR) return;
  const std::lock_guard lock(mutex_);
  last = opens_.leave(id, static_cast<ShareOpens::Access>(handle));
}

/// A client that has not opened the file, or asks for what it did not open it for (truncate(2)), gets a
/// descriptor for this once.
Result<ShareFs::Fd> ShareFs::readable(NodeId id) {
  if (Fd fd = opens_.readable(id); fd) return fd;
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  return open_anew(*node, O_RDONLY);
}

Result<ShareFs::Fd> ShareFs::writable(NodeId id) {
  if (Fd fd = opens_.writable(id); fd) return fd;
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  return open_anew(*node, O_WRONLY);
}

Result<std::int64_t> ShareFs::try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into) {
  const std::size_t wanted = total_bytes(into);
  if (range_wraps(offset, wanted)) return fail(EINVAL);
  Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_ASSIGN(fd, readable(id));
  }
  const ssize_t got = ::preadv2(fd->get(), into.data(), static_cast<int>(into.size()),
                                static_cast<off_t>(offset), RWF_NOWAIT);
  // Part of it may be in memory and the rest not: then the count is short but the file has not ended.
  if (got < 0 || static_cast<std::size_t>(got) < wanted) return kWouldWait;
  return got;
}

Task<Result<std::size_t>> ShareFs::read(Reactor& reactor, NodeId id, std::uint64_t offset,
                                        std::span<const iovec> into) {
  if (range_wraps(offset, total_bytes(into))) co_return fail(EINVAL);
  Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, readable(id));
  }
  auto got = co_await read_whole(reactor, fd->get(), into, offset);
  co_return got;
}

Task<Result<std::size_t>> ShareFs::write(Reactor& reactor, NodeId id, std::uint64_t offset,
                                         std::span<const iovec> from, Writer) {
  if (range_wraps(offset, total_bytes(from))) co_return fail(EFBIG);
  Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, writable(id));
  }
  // Set-id bits go by the host's doing, whoever writes: the daemon has no CAP_FSETID.
  auto put = co_await write_whole(reactor, fd->get(), from, offset);
  const std::lock_guard lock(mutex_);
  note_change(id);
  co_return put;
}

Task<Result<void>> ShareFs::fsync(Reactor& reactor, NodeId id, bool data_only) {
  if (read_only_) co_return Result<void>();
  Fd fd;
  {
    const std::lock_guard lock(mutex_);
    fd = opens_.writable(id);
    if (!fd) {
      LB_CO_ASSIGN(fd, readable(id));
    }
  }
  auto synced = co_await reactor.fsync(fd->get(), data_only);
  if (!synced) co_return std::unexpected(synced.error());
  co_return Result<void>();
}

Task<Result<void>> ShareFs::fsyncdir(Reactor& reactor, NodeId id, bool data_only) {
  if (read_only_) co_return Result<void>();
  UniqueFd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(const ShareNodePtr node, nodes_.find(id));
    LB_CO_ASSIGN(fd, open_node(*node, O_RDONLY | O_DIRECTORY));
  }
  auto synced = co_await reactor.fsync(fd.get(), data_only);
  if (!synced) co_return std::unexpected(synced.error());
  co_return Result<void>();
}

Task<Result<void>> ShareFs::fallocate(Reactor& reactor, NodeId id, std::uint32_t mode, std::uint64_t offset,
                                      std::uint64_t length_bytes) {
  if (range_wraps(offset, length_bytes)) co_return fail(EFBIG);
  if (!overlay::is_served_fallocate(mode)) co_return fail(EOPNOTSUPP);
  Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, writable(id));
  }
  auto allocated = co_await reactor.fallocate(fd->get(), static_cast<int>(mode), offset, length_bytes);
  if (!allocated) co_return std::unexpected(allocated.error());
  const std::lock_guard lock(mutex_);
  note_change(id);
  co_return Result<void>();
}

Result<std::uint64_t> ShareFs::lseek(NodeId id, std::uint64_t offset, std::uint32_t whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(EINVAL);
  if (offset > INT64_MAX) return fail(ENXIO);
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Fd fd, readable(id));
  const off_t at = ::lseek(fd->get(), static_cast<off_t>(offset), static_cast<int>(whence));
  if (at < 0) return fail(errno);
  return static_cast<std::uint64_t>(at);
}

// ---- attributes ----------------------------------------------------------------------------------------

Task<Result<Attr>> ShareFs::setattr(Reactor&, NodeId id, AttrChange change) {
  const std::lock_guard lock(mutex_);
  LB_CO_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  LB_CO_TRY(apply(node, change));
  note_change(node);
  co_return attr_of(*node);
}

Result<void> ShareFs::apply(const ShareNodePtr& node, const AttrChange& change) {
  if (change.size_bytes) {
    if (*change.size_bytes > INT64_MAX) return fail(EFBIG);
    LB_ASSIGN(const Fd fd, writable(node->id));
    if (::ftruncate(fd->get(), static_cast<off_t>(*change.size_bytes)) != 0) return fail(errno);
  }
  if (change.mode && S_ISLNK(node->identity.type)) return fail(EOPNOTSUPP);
  LB_ASSIGN(const UniqueFd object, open_node(*node, O_PATH, Want::kOwn));
  if (change.mode || change.uid || change.gid || change.kill_suid_sgid) {
    LB_ASSIGN(const Attr before, attr_of(*node));
    Nature nature{.mode = change.mode ? (before.mode & kTypeBits) | *change.mode : before.mode,
                  .uid = change.uid.value_or(before.uid),
                  .gid = change.gid.value_or(before.gid),
                  .rdev = before.rdev};
    if (change.kill_suid_sgid && !S_ISDIR(node->identity.type)) {
      nature.mode = overlay::without_set_id(nature.mode);
    }
    LB_TRY(keeper_.set(object.get(), nature));
  }
  if (!change.atime && !change.mtime) return {};
  const struct timespec times[2] = {overlay::timespec_of(change.atime), overlay::timespec_of(change.mtime)};
  if (::utimensat(AT_FDCWD, descriptor_path(object.get()).c_str(), times, 0) != 0) return fail(errno);
  return {};
}

// ---- extended attributes -------------------------------------------------------------------------------

Result<UniqueFd> ShareFs::open_for_xattrs(NodeId id, std::string_view name, Want want) {
  if (!name.starts_with(kServedXattrs) || name.size() == kServedXattrs.size()) return fail(EOPNOTSUPP);
  if (name.size() > kMaxXattrNameBytes) return fail(ERANGE);
  if (name == overlay::kRecordedStatXattr) return fail(EPERM);
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  // As Linux has it.
  if (!S_ISREG(node->identity.type) && !S_ISDIR(node->identity.type)) return fail(EPERM);
  return open_node(*node, O_RDONLY, want);
}

Result<std::string> ShareFs::getxattr(NodeId id, std::string_view name) {
  const std::lock_guard lock(mutex_);
  auto fd = open_for_xattrs(id, name, Want::kRead);
  if (!fd && fd.error().code == EPERM) return fail(ENODATA);
  if (!fd) return std::unexpected(std::move(fd).error());
  LB_ASSIGN(auto value, overlay::get_xattr_at({fd->get(), ""}, name));
  if (!value) return fail(ENODATA);
  return *std::move(value);
}

Result<std::string> ShareFs::listxattr(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  std::string names;
  if (!S_ISREG(node->identity.type) && !S_ISDIR(node->identity.type)) return names;
  LB_ASSIGN(const UniqueFd fd, open_node(*node, O_RDONLY, Want::kRead));
  LB_ASSIGN(const auto host_names, overlay::list_xattrs_at({fd.get(), ""}));
  for (const auto& name : host_names) {
    if (!name.starts_with(kServedXattrs) || name == overlay::kRecordedStatXattr) continue;
    names.append(name).push_back('\0');
  }
  return names;
}

Task<Result<void>> ShareFs::setxattr(Reactor&, NodeId id, std::string_view name, std::string_view value,
                                     std::uint32_t flags) {
  if ((flags & ~static_cast<std::uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0) co_return fail(EOPNOTSUPP);
  const std::lock_guard lock(mutex_);
  LB_CO_ASSIGN(const UniqueFd fd, open_for_xattrs(id, name, Want::kWrite));
  note_change(id);
  co_return overlay::set_xattr_at({fd.get(), ""}, name, value, static_cast<int>(flags));
}

Task<Result<void>> ShareFs::removexattr(Reactor&, NodeId id, std::string_view name) {
  const std::lock_guard lock(mutex_);
  LB_CO_ASSIGN(const UniqueFd fd, open_for_xattrs(id, name, Want::kWrite));
  note_change(id);
  co_return overlay::remove_xattr_at({fd.get(), ""}, name);
}

}  // namespace layerboot::vfs
