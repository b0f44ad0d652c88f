// FakeFileSystem's data, xattrs and the whole.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/io_slices.h"
#include "oci-mount/overlay/file_rules.h"
#include "tests/support/fake_file_system.h"

namespace layerboot::test {

using vfs::NodeId;

Result<std::size_t> FakeFileSystem::copy_out(NodeId id, std::uint64_t offset, std::span<const iovec> into) {
  LB_ASSIGN(const Node* from, node(id));
  if (!S_ISREG(from->attr.mode)) return fail(S_ISDIR(from->attr.mode) ? EISDIR : EINVAL);
  if (offset >= from->content.size()) return std::size_t{0};
  const auto wanted = std::min<std::size_t>(total_bytes(into), from->content.size() - offset);
  return copy_into_slices(into, 0, as_bytes(from->content).subspan(offset, wanted));
}

Result<std::int64_t> FakeFileSystem::try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into) {
  const std::lock_guard lock(mutex_);
  if (hold_) return kWouldWait;
  LB_ASSIGN(const auto count, copy_out(id, offset, into));
  return static_cast<std::int64_t>(count);
}

struct FakeFileSystem::AwaitRelease {
  FakeFileSystem& fs;
  Reactor& reactor;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> reader) {
    const std::lock_guard lock(fs.mutex_);
    if (!fs.hold_) return false;
    fs.held_.push_back({&reactor, reader});
    return true;
  }
  void await_resume() const noexcept {}
};

Task<Result<std::size_t>> FakeFileSystem::read(Reactor& reactor, NodeId id, std::uint64_t offset,
                                               std::span<const iovec> into) {
  AwaitRelease released{*this, reactor};
  co_await released;
  const std::lock_guard lock(mutex_);
  co_return copy_out(id, offset, into);
}

Task<Result<std::size_t>> FakeFileSystem::write(Reactor&, NodeId id, std::uint64_t offset,
                                                std::span<const iovec> from, overlay::Writer writer) {
  const std::lock_guard lock(mutex_);
  LB_CO_ASSIGN(Node * into, node(id));
  if (!S_ISREG(into->attr.mode)) co_return fail(EBADF);
  const std::size_t size = total_bytes(from);
  if (offset > kMaxFileBytes || size > kMaxFileBytes - offset) co_return fail(EFBIG);
  if (into->content.size() < offset + size) into->content.resize(offset + size);
  const std::span target(reinterpret_cast<std::byte*>(into->content.data()) + offset, size);
  copy_from_slices(from, 0, target);
  into->attr.size_bytes = into->content.size();
  if (writer == overlay::Writer::kUnprivileged) into->attr.mode = overlay::without_set_id(into->attr.mode);
  co_return size;
}

Task<Result<void>> FakeFileSystem::fsync(Reactor&, NodeId id, bool) {
  const std::lock_guard lock(mutex_);
  LB_CO_TRY(node(id));
  co_return Result<void>();
}

Task<Result<void>> FakeFileSystem::fsyncdir(Reactor&, NodeId id, bool) {
  const std::lock_guard lock(mutex_);
  LB_CO_TRY(directory(id));
  co_return Result<void>();
}

Task<Result<void>> FakeFileSystem::syncfs(Reactor&) { co_return Result<void>(); }

Task<Result<void>> FakeFileSystem::fallocate(Reactor&, NodeId id, std::uint32_t mode, std::uint64_t offset,
                                             std::uint64_t length_bytes) {
  const std::lock_guard lock(mutex_);
  if (mode != 0) co_return fail(EOPNOTSUPP);
  LB_CO_ASSIGN(Node * grown, node(id));
  if (offset + length_bytes > kMaxFileBytes) co_return fail(ENOSPC);
  if (grown->content.size() < offset + length_bytes) grown->content.resize(offset + length_bytes);
  grown->attr.size_bytes = grown->content.size();
  co_return Result<void>();
}

Result<std::uint64_t> FakeFileSystem::lseek(NodeId id, std::uint64_t offset, std::uint32_t whence) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* found, node(id));
  if (offset >= found->content.size()) return fail(ENXIO);
  return whence == SEEK_DATA ? offset : found->content.size();
}

Result<std::string> FakeFileSystem::getxattr(NodeId id, std::string_view name) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* found, node(id));
  const auto value = found->xattrs.find(name);
  if (value == found->xattrs.end()) return fail(ENODATA);
  return value->second;
}

Result<std::string> FakeFileSystem::listxattr(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* found, node(id));
  std::string names;
  for (const auto& [name, value] : found->xattrs) names += name + '\0';
  return names;
}

Task<Result<void>> FakeFileSystem::setxattr(Reactor&, NodeId id, std::string_view name,
                                            std::string_view value, std::uint32_t flags) {
  const std::lock_guard lock(mutex_);
  LB_CO_ASSIGN(Node * found, node(id));
  last_xattr_flags = flags;
  const bool exists = found->xattrs.contains(name);
  if ((flags & XATTR_CREATE) != 0 && exists) co_return fail(EEXIST);
  if ((flags & XATTR_REPLACE) != 0 && !exists) co_return fail(ENODATA);
  found->xattrs[std::string(name)] = value;
  co_return Result<void>();
}

Task<Result<void>> FakeFileSystem::removexattr(Reactor&, NodeId id, std::string_view name) {
  const std::lock_guard lock(mutex_);
  LB_CO_ASSIGN(Node * found, node(id));
  const auto value = found->xattrs.find(name);
  if (value == found->xattrs.end()) co_return fail(ENODATA);
  found->xattrs.erase(value);
  co_return Result<void>();
}

Result<vfs::StatFs> FakeFileSystem::statfs() {
  const std::lock_guard lock(mutex_);
  if (fail_code_ != 0) return fail(fail_code_);
  return vfs::StatFs{.blocks = 1ULL << 40, .blocks_free = 1ULL << 39, .inodes = 1000, .inodes_free = 500};
}

}  // namespace layerboot::test
