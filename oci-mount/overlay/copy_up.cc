// Copy-up: giving a lower object a body in the upper, at its first change.
//
// A file's data is written to a nameless file first, then the file is named at one stroke: no half copy is
// ever seen, and a crash leaves nothing. Several requests that need the same file wait for one copy. What
// leaves the data as it is copies none (metacopy.cc).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/copies_under_way.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

constexpr std::size_t kCopyPieceBytes = 1 << 20;

Nature nature_of(const tree::NodeRecord& record) {
  return {.mode = record.mode, .uid = record.uid, .gid = record.gid, .rdev = record.rdev};
}

struct timespec timespec_of(const Time& time) {
  return {.tv_sec = time.sec, .tv_nsec = static_cast<long>(time.nsec)};
}

}  // namespace

/// Owner, mode, attributes and times of a lower object onto its copy; times last, since the others change
/// them.
Result<void> Overlay::copy_metadata(Place place, tree::NodeId lower) {
  const auto& record = lower_.tree.node(lower);
  LB_TRY(set_nature_at(keeping(), place, nature_of(record)));
  for (const auto& xattr : lower_.tree.xattrs(lower)) {
    const auto guest_name = lower_.tree.xattr_name(xattr);
    if (!lower_.serves_xattr(lower, guest_name)) continue;  // nobody sees it below either
    // A host keeps these on files and directories only, whatever a tar says.
    if (guest_name.starts_with("user.") && !S_ISREG(record.mode) && !S_ISDIR(record.mode)) continue;
    LB_ASSIGN(const std::string name, host_xattr_name(keeping(), guest_name));
    LB_TRY(set_xattr_at(place, name, lower_.tree.xattr_value(xattr), 0));
  }
  if (!S_ISDIR(record.mode)) LB_TRY(set_xattr_at(place, marks().origin, lower_.tree.path(lower), 0));
  const struct timespec mtime = timespec_of({record.mtime_sec, record.mtime_nsec});
  return set_times_at(place, {mtime, mtime});
}

/// Placing a copy is no change of its directory.
Result<void> Overlay::keep_times(const NodePtr& directory, const Attr& before) {
  directory->attr_valid = false;
  LB_ASSIGN(const HeldPlace place, place_of(directory));
  return set_times_at(place.get(), {timespec_of(before.atime), timespec_of(before.mtime)});
}

/// The Node of a directory, with a body in the upper, as all above it get one.
Result<NodePtr> Overlay::upper_directory(NodeId id, Budget budget) {
  LB_ASSIGN(const Ref ref, find_directory(id));
  if (ref.node) return ref.node;
  LB_ASSIGN(const NodePtr parent, upper_directory(lower_.tree.parent(ref.lower), budget));
  const std::string name(lower_.tree.name_in_parent(ref.lower));
  LB_ASSIGN(const Found found, look({parent, parent->lower}, name));
  // An honest client can't hold a directory that its parent does not show.
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, load_child(parent, name, *found.child));
    if (node->id == id) return node;
  }
  if (found.visible_lower() != ref.lower) return fail(ESTALE);
  return copy_up_directory(parent, name, ref.lower, budget);
}

Result<NodePtr> Overlay::copy_up_directory(const NodePtr& parent, const std::string& name, tree::NodeId lower,
                                           Budget budget) {
  Quota::Reservation reserved;
  if (budget == Budget::kKeep) {
    LB_ASSIGN(reserved, quota_.reserve(kNewObjectBytes, 1));
  }
  const HeldPlace work = work_place();
  if (::mkdirat(work.get().dir_fd, work.get().name, 0700) != 0) return fail(errno);
  const auto place = [&]() -> Result<NodePtr> {
    LB_TRY(copy_metadata(work.get(), lower));
    LB_ASSIGN(const struct stat st, stat_at(work.get()));
    LB_ASSIGN(const HeldPlace to, place_in(parent, name));
    LB_ASSIGN(const Attr parent_attr, attr_of(*parent));
    LB_TRY(rename_at(work.get(), to.get(), RENAME_NOREPLACE));
    auto node = std::make_shared<Node>();
    node->id = lower;
    node->lower = lower;
    node->type = S_IFDIR;
    if (keeping() == Keeping::kRecorded) node->recorded = nature_of(lower_.tree.node(lower));
    node->parent = parent;
    node->name = name;
    node->host_ino = st.st_ino;
    quota_.add_inode();
    book(*node, st);
    put_child(*parent, name, child_of(add_node(node)));
    LB_TRY(keep_times(parent, parent_attr));
    return node;
  };
  auto placed = place();
  if (!placed) static_cast<void>(unlink_at(work.get(), AT_REMOVEDIR));
  return placed;
}

/// Whether the merged `directory` still shows `lower` as `name`, and which directory of the upper is to hold
/// its copy.
Result<bool> Overlay::still_named(tree::NodeId directory, std::string_view name, tree::NodeId lower,
                                  NodePtr& in) {
  auto parent = upper_directory(directory);
  if (!parent) {
    const int code = parent.error().code;
    if (code == ESTALE || code == ENOENT) return false;
    return std::unexpected(parent.error());
  }
  in = *parent;
  LB_ASSIGN(const Found found, look({in, in->lower}, name));
  return found.visible_lower() == lower;
}

/// Gives the finished copy, now at `copy` in the work directory, its names and its Node.
Result<NodePtr> Overlay::place_copy(tree::NodeId lower, Place copy, const struct stat& st, Data data) {
  const auto known = nodes_.find(lower);
  const NodePtr node = known != nodes_.end() ? known->second : std::make_shared<Node>();
  const std::string_view name = lower_.tree.name_in_parent(lower);
  // All that the quota may refuse comes first: a file whose names lead to different copies would be worse.
  for (const auto& link : lower_.tree.links(lower)) {
    NodePtr other;
    LB_TRY(still_named(link.parent, lower_.tree.name(link), lower, other));
  }
  NodePtr directory;
  LB_ASSIGN(const bool named, still_named(lower_.tree.parent(lower), name, lower, directory));
  if (named) {
    LB_ASSIGN(const HeldPlace to, place_in(directory, name));
    LB_ASSIGN(const Attr directory_attr, attr_of(*directory));
    LB_TRY(rename_at(copy, to.get(), RENAME_NOREPLACE));
    LB_TRY(keep_times(directory, directory_attr));
    node->parent = directory;
    node->name = name;
  } else {
    node->name = copy.name;  // removed meanwhile, but still open: it stays in the work directory
  }
  node->id = lower;
  node->lower = lower;
  node->type = lower_.tree.node(lower).mode & S_IFMT;
  if (keeping() == Keeping::kRecorded) node->recorded = nature_of(lower_.tree.node(lower));
  node->host_ino = st.st_ino;
  node->in_upper = true;
  node->data_below = data == Data::kBelow;
  quota_.add_inode();
  book(*node, st);
  add_node(node);
  if (named) put_child(*directory, name, child_of(node));
  LB_TRY(link_other_names(lower, node));
  return node;
}

/// A lower file's other names must lead to the same copy.
Result<void> Overlay::link_other_names(tree::NodeId lower, const NodePtr& node) {
  for (const auto& link : lower_.tree.links(lower)) {
    const auto name = lower_.tree.name(link);
    NodePtr directory;
    LB_ASSIGN(const bool named, still_named(link.parent, name, lower, directory));
    if (!named) continue;
    LB_ASSIGN(const HeldPlace from, place_of(node));
    LB_ASSIGN(const HeldPlace to, place_in(directory, name));
    LB_ASSIGN(const Attr directory_attr, attr_of(*directory));
    if (node->in_work()) {
      LB_TRY(rename_at(from.get(), to.get(), RENAME_NOREPLACE));
      move_node(node, directory, std::string(name));
    } else {
      LB_TRY(link_at(from.get(), to.get()));
    }
    LB_TRY(keep_times(directory, directory_attr));
    put_child(*directory, name, child_of(node));
  }
  node->attr_valid = false;
  return {};
}

/// Symlinks, special files and files without their data: nothing to wait for. No data is no metacopy.
Result<NodePtr> Overlay::copy_up_at_once(tree::NodeId lower, Data data) {
  const auto& record = lower_.tree.node(lower);
  if (!S_ISREG(record.mode) || record.size_bytes == 0) data = Data::kNone;
  LB_ASSIGN(const auto reserved, quota_.reserve(kNewObjectBytes, 1));
  const HeldPlace work = work_place();
  const auto target = S_ISLNK(record.mode) ? lower_.tree.symlink_target(lower) : std::string_view();
  LB_ASSIGN(const Body body, make_body(keeping(), work.get(), nature_of(record), target));
  const auto finish = [&]() -> Result<NodePtr> {
    if (data == Data::kBelow) {
      LB_TRY(set_xattr_at({body.fd.get(), ""}, marks().metacopy, {}, 0));
      if (::ftruncate(body.fd.get(), static_cast<off_t>(record.size_bytes)) != 0) return fail(errno);
    }
    LB_TRY(copy_metadata(work.get(), lower));
    LB_ASSIGN(const struct stat st, stat_at(work.get()));
    return place_copy(lower, work.get(), st, data);
  };
  auto node = finish();
  if (!node) static_cast<void>(unlink_at(work.get()));
  return node;
}

Task<Result<Overlay::Pin>> Overlay::copy_up(Reactor& reactor, NodeId id,
                                            std::optional<std::uint64_t> data_bytes) {
  for (;;) {
    tree::NodeId lower = tree::kNoNode;
    bool wait = false;
    std::optional<Pin> metacopy;  // outlives the lock
    {
      const std::lock_guard lock(mutex_);
      LB_CO_ASSIGN(const Ref ref, find(id));
      if (ref.node && ref.node->removed) co_return fail(ENOENT);
      const bool in_upper = ref.node && ref.node->in_upper;
      if (in_upper && !(data_bytes && ref.node->data_below)) co_return Pin(*this, ref.node);
      lower = ref.lower;
      const auto& record = lower_.tree.node(lower);
      if (S_ISDIR(record.mode)) co_return pin(upper_directory(id));
      if (!S_ISREG(record.mode)) co_return pin(copy_up_at_once(lower, Data::kNone));
      const bool takes_data = data_bytes && std::min(*data_bytes, record.size_bytes) > 0;
      if (!in_upper && !takes_data && !copying_.contains(lower)) {
        co_return pin(copy_up_at_once(lower, data_bytes ? Data::kNone : Data::kBelow));
      }
      wait = !copying_.try_emplace(lower).second;
      if (!wait && in_upper) metacopy.emplace(*this, ref.node);
    }
    if (metacopy) {
      auto filled = co_await fill(reactor, *std::move(metacopy), *data_bytes);
      co_return std::move(filled);
    }
    if (!wait) {
      auto copied = co_await copy_up_file(reactor, lower, *data_bytes);
      co_return std::move(copied);
    }
    co_await CopyUpWait(*this, reactor, lower);
  }
}

/// REQUIRES: `lower` is entered in copying_ by this request.
Task<Result<Overlay::Pin>> Overlay::copy_up_file(Reactor& reactor, tree::NodeId lower,
                                                 std::uint64_t data_bytes) {
  const CopyUpEnd end(*this, lower);
  const auto& record = lower_.tree.node(lower);
  const std::uint64_t length = std::min(record.size_bytes, data_bytes);
  LB_CO_ASSIGN(const auto reserved, quota_.reserve(worst_copy_bytes(record, length), 1));
  LB_CO_ASSIGN(const UniqueFd file, create_nameless_in(upper_.work_fd(), 0600));
  if (::ftruncate(file.get(), static_cast<off_t>(length)) != 0) co_return fail(errno);
  auto copied = co_await copy_data(reactor, lower, file.get(), length);
  if (!copied) co_return std::unexpected(copied.error());
  // As overlayfs: a copy that is named is whole, also after the host has lost power.
  auto synced = co_await reactor.fsync(file.get(), false);
  if (!synced) co_return std::unexpected(synced.error());

  const std::lock_guard lock(mutex_);
  const HeldPlace work = work_place();
  const std::string self = descriptor_path(file.get());
  if (::linkat(AT_FDCWD, self.c_str(), work.get().dir_fd, work.get().name, AT_SYMLINK_FOLLOW) != 0) {
    co_return fail(errno);
  }
  const auto finish = [&]() -> Result<NodePtr> {
    LB_TRY(copy_metadata(work.get(), lower));
    LB_ASSIGN(const struct stat st, stat_at(work.get()));
    return place_copy(lower, work.get(), st, Data::kNone);
  };
  auto node = finish();
  if (!node) static_cast<void>(unlink_at(work.get()));
  co_return pin(std::move(node));
}

std::uint64_t Overlay::worst_copy_bytes(const tree::NodeRecord& record, std::uint64_t data_bytes) {
  return std::min(block_end(data_bytes), record.blocks * 512 + kDataBlockBytes);
}

/// The first `data_bytes` of a lower file, with their holes, into one that has none of them.
Task<Result<void>> Overlay::copy_data(Reactor& reactor, tree::NodeId lower, int to_fd,
                                      std::uint64_t data_bytes) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(data_bytes, kCopyPieceBytes));
  for (const auto& extent : lower_.tree.extents(lower)) {
    const std::uint64_t end = std::min(extent.file_offset + extent.length_bytes, data_bytes);
    for (std::uint64_t at = extent.file_offset; at < end;) {
      const iovec piece{buffer.data(), std::min<std::uint64_t>(end - at, buffer.size())};
      auto got = co_await lower_.read(reactor, lower, at, {&piece, 1});
      if (!got) co_return std::unexpected(got.error());
      if (*got != piece.iov_len) co_return fail(EIO);
      for (std::size_t done = 0; done < piece.iov_len;) {
        const iovec rest{buffer.data() + done, piece.iov_len - done};
        auto put = co_await reactor.writev(to_fd, {&rest, 1}, at + done);
        if (!put) co_return std::unexpected(put.error());
        done += *put;
      }
      at += piece.iov_len;
    }
  }
  co_return Result<void>();
}

}  // namespace layerboot::overlay
