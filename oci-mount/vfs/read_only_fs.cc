#include "oci-mount/vfs/read_only_fs.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::vfs {

namespace {

std::unexpected<Error> read_only() { return fail(EROFS); }

}  // namespace

ReadOnlyFs::ReadOnlyFs(overlay::Lower lower) : lower_(lower) {}

Result<tree::NodeId> ReadOnlyFs::row(NodeId node) const {
  if (!lower_.tree.contains(node)) return fail(ESTALE);
  return static_cast<tree::NodeId>(node);
}

Result<tree::NodeId> ReadOnlyFs::directory_row(NodeId node) const {
  LB_ASSIGN(const tree::NodeId id, row(node));
  if (!S_ISDIR(lower_.tree.node(id).mode)) return fail(ENOTDIR);
  return id;
}

Result<Entry> ReadOnlyFs::lookup(NodeId parent, std::string_view name) {
  LB_TRY(overlay::check_name(name));
  LB_ASSIGN(const tree::NodeId directory, directory_row(parent));
  const tree::NodeId child = lower_.tree.lookup(directory, name);
  if (child == tree::kNoNode) return Entry{};
  return Entry{child, lower_.attr(child)};
}

Result<Attr> ReadOnlyFs::getattr(NodeId node) {
  LB_ASSIGN(const tree::NodeId id, row(node));
  return lower_.attr(id);
}

Result<std::string> ReadOnlyFs::readlink(NodeId node) {
  LB_ASSIGN(const tree::NodeId id, row(node));
  if (!S_ISLNK(lower_.tree.node(id).mode)) return fail(EINVAL);
  return std::string(lower_.tree.symlink_target(id));
}

Result<void> ReadOnlyFs::readdir(NodeId directory, std::uint64_t cookie, bool with_nodes,
                                 const AddEntry& add) {
  LB_ASSIGN(const tree::NodeId id, directory_row(directory));
  if (cookie == 0 && !add({.name = ".", .ino = id, .type = DT_DIR, .next_cookie = 1}, Entry{})) return {};
  const Dirent up{.name = "..", .ino = lower_.tree.parent(id), .type = DT_DIR, .next_cookie = 2};
  if (cookie <= 1 && !add(up, Entry{})) return {};
  const auto entries = lower_.tree.entries(id);
  for (std::uint64_t i = cookie <= 2 ? 0 : cookie - 2; i < entries.size(); ++i) {
    const auto& entry = entries[i];
    const Dirent dirent{
        .name = lower_.tree.name(entry), .ino = entry.node, .type = entry.type, .next_cookie = i + 3};
    if (!add(dirent, with_nodes ? Entry{entry.node, lower_.attr(entry.node)} : Entry{})) return {};
  }
  return {};
}

Result<std::int64_t> ReadOnlyFs::try_read(NodeId node, std::uint64_t offset, std::span<const iovec> into) {
  LB_ASSIGN(const tree::NodeId id, row(node));
  return lower_.try_read(id, offset, into);
}

Task<Result<std::size_t>> ReadOnlyFs::read(Reactor& reactor, NodeId node, std::uint64_t offset,
                                           std::span<const iovec> into) {
  LB_CO_ASSIGN(const tree::NodeId id, row(node));
  auto got = co_await lower_.read(reactor, id, offset, into);
  co_return got;
}

Result<std::uint64_t> ReadOnlyFs::lseek(NodeId node, std::uint64_t offset, std::uint32_t whence) {
  LB_ASSIGN(const tree::NodeId id, row(node));
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(EINVAL);
  return lower_.seek(id, offset, static_cast<int>(whence));
}

Result<std::string> ReadOnlyFs::getxattr(NodeId node, std::string_view name) {
  LB_ASSIGN(const tree::NodeId id, row(node));
  return lower_.getxattr(id, name);
}

Result<std::string> ReadOnlyFs::listxattr(NodeId node) {
  LB_ASSIGN(const tree::NodeId id, row(node));
  return lower_.listxattr(id);
}

Result<StatFs> ReadOnlyFs::statfs() {
  constexpr std::uint64_t kSectorsPerBlock = 8;
  return StatFs{.block_size_bytes = 4096,
                .blocks = lower_.tree.total_blocks() / kSectorsPerBlock,
                .blocks_free = 0,
                .inodes = lower_.tree.node_count(),
                .inodes_free = 0};
}

Result<Entry> ReadOnlyFs::create(NodeId parent, std::string_view name, std::uint32_t, bool exclusive,
                                 Caller) {
  LB_ASSIGN(const Entry existing, lookup(parent, name));
  if (existing.id == 0) return read_only();
  if (exclusive) return fail(EEXIST);
  return existing;
}

// ---- what a read-only file system has nothing to say to
// -----------------------------------------------------

Task<Result<Attr>> ReadOnlyFs::setattr(Reactor&, NodeId, AttrChange) { co_return read_only(); }
Result<Entry> ReadOnlyFs::mknod(NodeId, std::string_view, std::uint32_t, std::uint32_t, Caller) {
  return read_only();
}
Result<Entry> ReadOnlyFs::mkdir(NodeId, std::string_view, std::uint32_t, Caller) { return read_only(); }
Result<Entry> ReadOnlyFs::symlink(NodeId, std::string_view, std::string_view, Caller) { return read_only(); }
Result<void> ReadOnlyFs::unlink(NodeId, std::string_view) { return read_only(); }
Result<void> ReadOnlyFs::rmdir(NodeId, std::string_view) { return read_only(); }
Task<Result<Entry>> ReadOnlyFs::link(Reactor&, NodeId, NodeId, std::string_view) { co_return read_only(); }
Task<Result<void>> ReadOnlyFs::rename(Reactor&, NodeId, std::string_view, NodeId, std::string_view,
                                      std::uint32_t) {
  co_return read_only();
}
Task<Result<std::size_t>> ReadOnlyFs::write(Reactor&, NodeId, std::uint64_t, std::span<const iovec>, Writer) {
  co_return read_only();
}
Task<Result<void>> ReadOnlyFs::fsync(Reactor&, NodeId, bool) { co_return Result<void>(); }
Task<Result<void>> ReadOnlyFs::fsyncdir(Reactor&, NodeId, bool) { co_return Result<void>(); }
Task<Result<void>> ReadOnlyFs::syncfs(Reactor&) { co_return Result<void>(); }
Task<Result<void>> ReadOnlyFs::fallocate(Reactor&, NodeId, std::uint32_t, std::uint64_t, std::uint64_t) {
  co_return read_only();
}
Task<Result<void>> ReadOnlyFs::setxattr(Reactor&, NodeId, std::string_view, std::string_view, std::uint32_t) {
  co_return read_only();
}
Task<Result<void>> ReadOnlyFs::removexattr(Reactor&, NodeId, std::string_view) { co_return read_only(); }

}  // namespace layerboot::vfs
