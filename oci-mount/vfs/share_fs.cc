// Nodes and names.
#include "oci-mount/vfs/share_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "oci-mount/base/files.h"
#include "oci-mount/base/kernel_file_systems.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::vfs {

using overlay::check_name;
using overlay::Place;

namespace {

/// Whether that is the place that it is known by.
bool is_at(const ShareNode& node, const ShareNodePtr& parent, std::string_view name) {
  return node.parent == parent && node.name == name;
}

/// How opening ends where something else is now, or nothing.
bool has_changed_kind(int code) {
  return code == ENOENT || code == ENOTDIR || code == EISDIR || code == ELOOP || code == ENXIO;
}

}  // namespace

Result<std::unique_ptr<ShareFs>> ShareFs::open(const ShareOptions& options, WorkerPool& workers,
                                               MemoryBudget& memory) {
  if (::geteuid() != 0 && options.ids != IdMap())
    return fail(EPERM, "a map of ids takes root: an ordinary user's files are the guest's root's anyway");
  LB_ASSIGN(UniqueFd root, open_path(options.directory, O_RDONLY | O_DIRECTORY));
  if (is_on_kernel_file_system(root.get()))
    return fail(EPERM, options.directory.native(),
                " holds the kernel's own files, by which a guest would reach all of this machine");
  LB_ASSIGN(const Seen seen, look_at({root.get(), ""}));
  return std::unique_ptr<ShareFs>(new ShareFs(std::move(root), seen, options, workers, memory));
}

ShareFs::ShareFs(UniqueFd root, const Seen& seen, const ShareOptions& options, WorkerPool& workers,
                 MemoryBudget& memory)
    : root_(std::move(root)),
      keeper_(::geteuid() == 0 ? Keeper::root(options.ids) : Keeper::ordinary_user(::geteuid(), ::getegid())),
      root_mount_(seen.identity.mount),
      read_only_(options.read_only),
      max_descriptors_(options.max_descriptors),
      workers_(workers),
      nodes_(seen.identity, memory) {}

void ShareFs::reset() {
  const std::lock_guard lock(mutex_);
  changes_ = {};
  nodes_.forget_all();
  opens_.clear();
}

// ---- nodes ---------------------------------------------------------------------------------------------

/// What the client knows of it is what is there now, or ESTALE. `flags` with O_PATH or O_DIRECTORY: its name
/// may lead to a fifo or a device by now.
Result<ShareFs::Reached> ShareFs::reach(ShareNode& node, int flags, Want want) {
  Reached reached;
  if (node.held) {
    reached.fd = UniqueFd(::fcntl(node.held->get(), F_DUPFD_CLOEXEC, 0));
    if (!reached.fd) return fail(errno);
  } else {
    LB_ASSIGN(const std::string path, ShareNodes::path(node));
    auto found = open_beneath(root_.get(), path.c_str(), flags, 0, OtherMounts::kEntered);
    // What is at its place has changed kind: as gone as if nothing were there.
    if (!found && has_changed_kind(found.error().code)) return fail(ESTALE);
    if (!found) return std::unexpected(std::move(found).error());
    reached.fd = *std::move(found);
  }
  LB_ASSIGN(reached.seen, look_at({reached.fd.get(), ""}));
  const Seen& seen = reached.seen;
  if (seen.identity != node.identity) return fail(ESTALE);
  LB_TRY(keeper_.check({reached.fd.get(), ""}, seen.attr, want));
  // What was there at the start the sandbox has covered. Once for each object: a network's answers take long.
  if (!node.is_served && seen.identity.mount != root_mount_ && is_on_kernel_file_system(reached.fd.get()))
    return fail(EACCES);
  node.is_served = true;
  return reached;
}

Result<UniqueFd> ShareFs::open_node(ShareNode& node, int flags, Want want) {
  const bool is_harmless = (flags & (O_PATH | O_DIRECTORY)) != 0;
  LB_ASSIGN(Reached reached, reach(node, is_harmless ? flags : O_PATH, want));
  if (!is_harmless) return open_again(reached.fd.get(), flags);
  return std::move(reached.fd);
}

Result<UniqueFd> ShareFs::open_directory(NodeId id, ShareNodePtr& node, Want want) {
  LB_ASSIGN(node, nodes_.find(id));
  if (!S_ISDIR(node->identity.type)) return fail(ENOTDIR);
  return open_node(*node, O_PATH | O_DIRECTORY, want);
}

Result<Seen> ShareFs::look(int directory_fd, std::string_view name) {
  LB_TRY(check_name(name));
  return look_at({directory_fd, std::string(name).c_str()});
}

/// Hands the client a reference.
Result<Entry> ShareFs::give(const ShareNodePtr& node, Place place, Seen seen) {
  seen.attr.is_mounted = node->parent && node->parent->identity.mount != seen.identity.mount;
  auto shown = keeper_.show(place, seen.attr);
  if (!shown) {
    nodes_.release_if_unused(node);
    return std::unexpected(std::move(shown).error());
  }
  ++node->references;
  return Entry{node->id, seen.attr};
}

Result<Entry> ShareFs::enter(const ShareNodePtr& parent, int directory_fd, std::string_view name,
                             ShareNodes::Room room) {
  LB_ASSIGN(Seen seen, look(directory_fd, name));
  LB_ASSIGN(const ShareNodePtr node, nodes_.put(parent, name, seen.identity, room));
  return give(node, {directory_fd, node->name.c_str()}, seen);
}

Result<Entry> ShareFs::lookup(NodeId parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd fd, open_directory(parent, directory, Want::kSearch));
  auto entry = enter(directory, fd.get(), name);
  if (!entry && entry.error().code == ENOENT) return Entry{};
  return entry;
}

void ShareFs::forget(NodeId id, std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  const ShareNodePtr node = nodes_.forget(id, count);
  if (!node) return;
  opens_.drop(id);
}

Result<Attr> ShareFs::attr_of(ShareNode& node) {
  UniqueFd directory;
  Place place{root_.get(), "."};
  if (node.held) {
    place = {node.held->get(), ""};
  } else if (!node.is_root()) {
    if (!node.parent) return fail(ESTALE);
    LB_ASSIGN(directory, open_node(*node.parent, O_PATH | O_DIRECTORY));
    place = {directory.get(), node.name.c_str()};
  }
  auto seen = look_at(place);
  if (!seen && seen.error().code == ENOENT) return fail(ESTALE);
  if (!seen) return std::unexpected(std::move(seen).error());
  if (seen->identity != node.identity) return fail(ESTALE);
  LB_TRY(keeper_.show(place, seen->attr));
  seen->attr.is_mounted = node.parent && node.parent->identity.mount != node.identity.mount;
  return seen->attr;
}

Result<Attr> ShareFs::getattr(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  return attr_of(*node);
}

Result<std::string> ShareFs::readlink(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  if (!S_ISLNK(node->identity.type)) return fail(EINVAL);
  LB_ASSIGN(const UniqueFd fd, open_node(*node, O_PATH));
  return overlay::readlink_at({fd.get(), ""});
}

// ---- names ---------------------------------------------------------------------------------------------

bool ShareFs::has_room() const { return opens_.descriptors() + nodes_.held() < max_descriptors_; }

/// Before an object is given the name: nothing is left there that the client could not be told of.
Result<void> ShareFs::ask_for_room(int directory_fd, std::string_view name, std::int64_t bytes) {
  if (nodes_.has_room(bytes)) return {};
  return fail(look(directory_fd, name) ? EEXIST : ENOMEM);
}

/// A way to the object that outlives its name, for a client that knows it; null where it needs none. Without
/// room for another an open file goes on by the descriptor that it has.
ShareFs::Fd ShareFs::hold(const Seen& seen) {
  const ShareNodePtr node = nodes_.known(seen.identity);
  if (!node || node->held || S_ISDIR(seen.identity.type)) return nullptr;
  if (!has_room()) {
    Fd open = opens_.readable(node->id);
    return open ? open : opens_.writable(node->id);
  }
  auto fd = open_node(*node, O_PATH);
  return fd ? std::make_shared<const UniqueFd>(std::move(*fd)) : nullptr;
}

/// The object that was `seen` there has lost this name.
void ShareFs::lose_name(const Seen& seen, const ShareNodePtr& parent, std::string_view name, Fd held) {
  const ShareNodePtr node = nodes_.known(seen.identity);
  // Another of its names may be the one it is known by.
  if (!node || !is_at(*node, parent, name)) return;
  // The change may be all that keeps it: it must not go between the two.
  ++node->pins;
  drop_change(node, !S_ISDIR(seen.identity.type) && seen.attr.nlink > 1);
  nodes_.lose_name(node, std::move(held));
  --node->pins;
  nodes_.release_if_unused(node);
}

Result<void> ShareFs::unlink(NodeId parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd fd, open_directory(parent, directory, Want::kWrite));
  LB_ASSIGN(const Seen seen, look(fd.get(), name));
  const std::string text(name);
  LB_TRY(keeper_.check({fd.get(), text.c_str()}, seen.attr, Want::kOwn));
  if (S_ISDIR(seen.identity.type)) return fail(EISDIR);
  Fd held = hold(seen);
  LB_TRY(overlay::unlink_at({fd.get(), text.c_str()}));
  note_change(directory);
  lose_name(seen, directory, name, std::move(held));
  return {};
}

Result<void> ShareFs::rmdir(NodeId parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd fd, open_directory(parent, directory, Want::kWrite));
  LB_ASSIGN(const Seen seen, look(fd.get(), name));
  const std::string text(name);
  LB_TRY(keeper_.check({fd.get(), text.c_str()}, seen.attr, Want::kOwn));
  LB_TRY(overlay::unlink_at({fd.get(), text.c_str()}, AT_REMOVEDIR));
  note_change(directory);
  lose_name(seen, directory, name, nullptr);
  return {};
}

/// By how much the names of what the client knows become longer, or shorter, where `moved` is called
/// `new_name` in `to`, and what is `there`, if anything, is called nothing or `others_name`.
std::int64_t ShareFs::growth_by_rename(const Seen& moved, const ShareNodePtr& to, std::string_view new_name,
                                       const Result<Seen>& there, std::string_view others_name) const {
  const ShareNodePtr node = nodes_.known(moved.identity);
  const ShareNodePtr other = there ? nodes_.known(there->identity) : nullptr;
  const std::int64_t growth = node ? ShareNodes::growth(*node, new_name) : 0;
  // One that is known by another of its names keeps that.
  if (!other || (others_name.empty() && !is_at(*other, to, new_name))) return growth;
  return growth + ShareNodes::growth(*other, others_name);
}

Task<Result<void>> ShareFs::rename(Reactor&, NodeId parent, std::string_view name, NodeId new_parent,
                                   std::string_view new_name, std::uint32_t flags) {
  const std::lock_guard lock(mutex_);
  co_return rename_now(parent, name, new_parent, new_name, flags);
}

Result<void> ShareFs::rename_now(NodeId parent, std::string_view name, NodeId new_parent,
                                 std::string_view new_name, std::uint32_t flags) {
  if ((flags & ~static_cast<std::uint32_t>(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return fail(EINVAL);
  ShareNodePtr from;
  ShareNodePtr to;
  LB_ASSIGN(const UniqueFd from_fd, open_directory(parent, from, Want::kWrite));
  LB_ASSIGN(const UniqueFd to_fd, open_directory(new_parent, to, Want::kWrite));
  LB_ASSIGN(const Seen moved, look(from_fd.get(), name));
  const std::string old_text(name);
  const std::string new_text(new_name);
  LB_TRY(keeper_.check({from_fd.get(), old_text.c_str()}, moved.attr, Want::kOwn));
  LB_TRY(check_name(new_name));
  const auto there = look(to_fd.get(), new_name);
  if (!there && there.error().code != ENOENT) return std::unexpected(there.error());
  if (there) LB_TRY(keeper_.check({to_fd.get(), new_text.c_str()}, there->attr, Want::kOwn));
  // Two names of one file: rename(2) does nothing, successfully.
  const bool same_file = there && there->identity == moved.identity;
  Fd held = there ? hold(*there) : nullptr;
  const bool is_exchange = there && (flags & RENAME_EXCHANGE) != 0;
  const std::string_view others_name = is_exchange ? name : std::string_view();
  if (!same_file && !nodes_.has_room(growth_by_rename(moved, to, new_name, there, others_name)))
    return fail(ENOMEM);
  LB_TRY(overlay::rename_at({from_fd.get(), old_text.c_str()}, {to_fd.get(), new_text.c_str()}, flags));
  if (same_file) return {};
  note_change(from);
  note_change(to);
  if (is_exchange) {
    if (const auto other = nodes_.known(there->identity); other) nodes_.move(other, from, name);
  } else if (there) {
    lose_name(*there, to, new_name, std::move(held));
  }
  // Not before: what was noted for a sync alone may have gone with the other's name.
  if (const auto node = nodes_.known(moved.identity); node) nodes_.move(node, to, new_name);
  return {};
}

Task<Result<Entry>> ShareFs::link(Reactor&, NodeId id, NodeId new_parent, std::string_view new_name) {
  const std::lock_guard lock(mutex_);
  co_return link_now(id, new_parent, new_name);
}

Result<Entry> ShareFs::link_now(NodeId id, NodeId new_parent, std::string_view new_name) {
  LB_TRY(check_name(new_name));
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  if (S_ISDIR(node->identity.type)) return fail(EPERM);
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd fd, open_directory(new_parent, directory, Want::kWrite));
  LB_ASSIGN(const UniqueFd object, open_node(*node, O_PATH, Want::kOwn));
  LB_TRY(ask_for_room(fd.get(), new_name, ShareNodes::growth(*node, new_name)));
  const std::string text(new_name);
  if (::linkat(AT_FDCWD, descriptor_path(object.get()).c_str(), fd.get(), text.c_str(), AT_SYMLINK_FOLLOW) !=
      0) {
    return fail(errno);
  }
  note_change(directory);
  note_change(node);
  return enter(directory, fd.get(), new_name, ShareNodes::Room::kAsked);
}

// ---- directories ---------------------------------------------------------------------------------------

Result<void> ShareFs::readdir(NodeId id, std::uint64_t cookie, bool with_nodes, const AddEntry& add) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const ShareNodePtr directory, nodes_.find(id));
  if (!S_ISDIR(directory->identity.type)) return fail(ENOTDIR);
  LB_ASSIGN(const Reached reached, reach(*directory, O_RDONLY | O_DIRECTORY, Want::kRead));
  const UniqueFd& fd = reached.fd;
  // Its names may be read and not looked up.
  with_nodes = with_nodes && keeper_.check({fd.get(), ""}, reached.seen.attr, Want::kSearch).has_value();
  if (cookie > INT64_MAX) return fail(EINVAL);
  if (cookie != 0 && ::lseek(fd.get(), static_cast<off_t>(cookie), SEEK_SET) < 0) return fail(errno);
  alignas(dirent64) std::array<char, std::size_t{32} << 10> page;
  for (;;) {
    const ssize_t got = ::getdents64(fd.get(), page.data(), page.size());
    if (got < 0) return fail(errno);
    if (got == 0) return {};
    std::uint16_t record_bytes = 0;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got); at += record_bytes) {
      const char* const record = page.data() + at;
      std::memcpy(&record_bytes, record + offsetof(dirent64, d_reclen), sizeof(record_bytes));
      Dirent dirent{.name = record + offsetof(dirent64, d_name)};
      std::memcpy(&dirent.ino, record + offsetof(dirent64, d_ino), sizeof(dirent.ino));
      std::memcpy(&dirent.next_cookie, record + offsetof(dirent64, d_off), sizeof(dirent.next_cookie));
      dirent.type = static_cast<unsigned char>(record[offsetof(dirent64, d_type)]);
      Entry entry;
      // The client's kernel takes no such name, and no such listing: NTFS and others count characters.
      if (dirent.name.size() > kMaxNameBytes) continue;
      const bool is_link = dirent.name == "." || dirent.name == "..";
      // What has gone since, or can't be looked at, is listed by its name alone.
      if (with_nodes && !is_link) entry = enter(directory, fd.get(), dirent.name).value_or(Entry{});
      if (add(dirent, entry)) continue;
      if (entry.id != 0) static_cast<void>(nodes_.forget(entry.id, 1));
      return {};
    }
  }
}

Result<StatFs> ShareFs::statfs_at(NodeId id) {
  struct statvfs host{};
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const ShareNodePtr node, nodes_.find(id));
  LB_ASSIGN(const UniqueFd fd, open_node(*node, O_PATH));
  if (::fstatvfs(fd.get(), &host) != 0) return fail(errno);
  return StatFs{.block_size_bytes = host.f_frsize,
                .blocks = host.f_blocks,
                .blocks_free = host.f_bavail,
                .inodes = host.f_files,
                .inodes_free = host.f_favail};
}

}  // namespace layerboot::vfs
