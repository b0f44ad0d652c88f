// Making objects: files, directories, symlinks, special files, and further names.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/overlay/device_number.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"
#include "oci-mount/tree/path_rules.h"

namespace layerboot::overlay {

namespace {

/// What a new directory or long symlink takes at least; settled to the truth once it is made.
constexpr std::uint64_t kNewObjectBytes = 4096;
constexpr std::uint32_t kPermissions = 07777;

/// A directory with S_ISGID hands down its group, and to directories the bit: what the host would do if the
/// caller made the object itself. A caller who is not of that group can't make its file setgid
/// (CVE-2022-0358).
void inherit_group(const Attr& directory, std::uint32_t& mode, Caller& caller) {
  if ((directory.mode & S_ISGID) == 0) return;
  const bool member = caller.uid == 0 || caller.gid == directory.gid;
  caller.gid = directory.gid;
  if (S_ISDIR(mode)) {
    mode |= S_ISGID;
  } else if (!member && (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) {
    mode &= ~static_cast<std::uint32_t>(S_ISGID);
  }
}

}  // namespace

/// The bare object with its owner and mode.
Result<Overlay::Made> Overlay::make_at(Place place, const NewObject& object) {
  Made made;
  int status = 0;
  switch (object.mode & S_IFMT) {
    case S_IFREG:
      made.fd = UniqueFd(::openat(place.dir_fd, place.name,
                                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOATIME,
                                  object.mode & kPermissions));
      status = made.fd ? 0 : -1;
      break;
    case S_IFDIR:
      status = ::mkdirat(place.dir_fd, place.name, object.mode & kPermissions);
      break;
    case S_IFLNK:
      status = ::symlinkat(std::string(object.target).c_str(), place.dir_fd, place.name);
      break;
    default:
      status = ::mknodat(place.dir_fd, place.name, object.mode, decode_dev(object.rdev));
  }
  if (status != 0) return fail(errno);
  const auto finish = [&]() -> Result<void> {
    const Place self = made.fd ? Place{made.fd.get(), ""} : place;
    LB_ASSIGN(made.st, stat_at(self));
    // Most often the host has made it as the caller wants it: the daemon's own owner and no bits for its
    // umask.
    const bool owned = made.st.st_uid == object.caller.uid && made.st.st_gid == object.caller.gid;
    const bool right =
        S_ISLNK(object.mode) || (made.st.st_mode & kPermissions) == (object.mode & kPermissions);
    if (owned && right) return {};
    LB_TRY(set_owner_at(self, object.caller.uid, object.caller.gid));
    // After the owner, whose change clears set-id bits; and the daemon's umask may have taken some.
    if (!S_ISLNK(object.mode)) LB_TRY(set_mode_at(place, object.mode));
    LB_ASSIGN(made.st, stat_at(self));
    return {};
  };
  if (auto done = finish(); !done) {
    static_cast<void>(unlink_at(place, S_ISDIR(object.mode) ? AT_REMOVEDIR : 0));
    return std::unexpected(done.error());
  }
  return made;
}

Result<Entry> Overlay::make(NodeId parent, std::string_view name, NewObject object) {
  LB_TRY(check_name(name));
  // A whiteout made by the guest would vanish from its sight: overlayfs refuses it too.
  if (S_ISCHR(object.mode) && object.rdev == 0) return fail(EPERM);
  LB_ASSIGN(const Ref ref, find_directory(parent));
  {
    LB_ASSIGN(const Found before, look(ref, name));
    if (before.exists()) return fail(EEXIST);
  }
  LB_ASSIGN(const auto reserved, quota_.reserve(S_ISREG(object.mode) ? 0 : kNewObjectBytes, 1));
  LB_ASSIGN(const NodePtr directory, upper_directory(parent));
  LB_ASSIGN(const Attr directory_attr, owner_of(*directory));
  inherit_group(directory_attr, object.mode, object.caller);
  LB_ASSIGN(const Found found, look({directory, directory->lower}, name));
  LB_ASSIGN(const HeldPlace place, place_in(directory, name));

  Made made;
  if (found.child == nullptr) {
    LB_ASSIGN(made, make_at(place.get(), object));
  } else {
    // In the place of a whiteout, at one stroke.
    const HeldPlace work = work_place();
    LB_ASSIGN(made, make_at(work.get(), object));
    const bool is_directory = S_ISDIR(object.mode);
    Result<void> moved;
    if (is_directory && found.lower_below != tree::kNoNode)
      moved = set_xattr_at(work.get(), kOpaqueXattr, "y", 0);
    if (moved) moved = rename_at(work.get(), place.get(), is_directory ? RENAME_EXCHANGE : 0);
    if (!moved || is_directory) static_cast<void>(remove_tree_at(work.get()));
    if (!moved) return std::unexpected(moved.error());
    LB_ASSIGN(made.st, stat_at(place.get()));
  }
  auto node = std::make_shared<Node>();
  node->type = object.mode & S_IFMT;
  node->host_ino = made.st.st_ino;
  node->id = number_for(tree::kNoNode, made.st.st_ino);
  node->parent = directory;
  node->name = name;
  quota_.add_inode();
  book(*node, made.st);
  if (made.fd) fds_.put(node->id, std::move(made.fd));
  add_node(node);
  put_child(*directory, name, child_of(node));
  directory->times_stale = true;
  return entry_for(node);
}

Result<Entry> Overlay::mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                             Caller caller) {
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  if (S_ISDIR(mode) || S_ISLNK(mode)) return fail(EINVAL);
  const std::lock_guard lock(mutex_);
  return make(parent, name, {.mode = mode, .rdev = rdev, .target = {}, .caller = caller});
}

Result<Entry> Overlay::mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) {
  const std::lock_guard lock(mutex_);
  return make(parent, name,
              {.mode = (mode & kPermissions) | S_IFDIR, .rdev = 0, .target = {}, .caller = caller});
}

Result<Entry> Overlay::symlink(NodeId parent, std::string_view name, std::string_view target, Caller caller) {
  if (!tree::is_valid_symlink_target(target)) return fail(target.empty() ? ENOENT : ENAMETOOLONG);
  const std::lock_guard lock(mutex_);
  return make(parent, name, {.mode = S_IFLNK | 0777, .rdev = 0, .target = target, .caller = caller});
}

Result<Entry> Overlay::create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                              Caller caller) {
  const std::lock_guard lock(mutex_);
  auto made = make(parent, name,
                   {.mode = (mode & kPermissions) | S_IFREG, .rdev = 0, .target = {}, .caller = caller});
  if (made || made.error().code != EEXIST || exclusive) return made;
  LB_ASSIGN(const Ref directory, find_directory(parent));
  LB_ASSIGN(const Found found, look(directory, name));
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, load_child(directory.node, std::string(name), *found.child));
    return entry_for(node);
  }
  LB_ASSIGN(const Ref lower, find(found.visible_lower()));
  return lower.node ? entry_for(lower.node) : entry_for_lower(lower.lower);
}

Result<Entry> Overlay::tmpfile(NodeId parent, std::uint32_t mode, Caller caller) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find_directory(parent));
  LB_ASSIGN(const Attr directory_attr, ref.node ? attr_of(*ref.node) : Result<Attr>(lower_.attr(ref.lower)));
  LB_ASSIGN(const auto reserved, quota_.reserve(0, 1));
  NewObject object{.mode = (mode & kPermissions) | S_IFREG, .rdev = 0, .target = {}, .caller = caller};
  inherit_group(directory_attr, object.mode, object.caller);
  const HeldPlace work = work_place();
  LB_ASSIGN(Made made, make_at(work.get(), object));
  auto node = std::make_shared<Node>();
  node->type = S_IFREG;
  node->host_ino = made.st.st_ino;
  node->id = number_for(tree::kNoNode, made.st.st_ino);
  node->name = work.name;
  quota_.add_inode();
  book(*node, made.st);
  fds_.put(node->id, std::move(made.fd));
  add_node(node);
  return entry_for(node);
}

Task<Result<Entry>> Overlay::link(Reactor& reactor, NodeId id, NodeId new_parent, std::string_view new_name) {
  LB_CO_TRY(check_name(new_name));
  {
    const std::lock_guard lock(mutex_);
    LB_CO_TRY(check_link(id, new_parent, new_name));
  }
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(mutex_);
  co_return link_now(copied->node(), new_parent, new_name);
}

/// What can be said before anything is copied up.
Result<void> Overlay::check_link(NodeId id, NodeId new_parent, std::string_view new_name) {
  LB_ASSIGN(const Ref directory, find_directory(new_parent));
  LB_ASSIGN(const Found found, look(directory, new_name));
  if (found.exists()) return fail(EEXIST);
  LB_ASSIGN(const Ref ref, find(id));
  if (ref.node && ref.node->removed) return fail(ENOENT);
  if (ref.node ? ref.node->is_directory() : S_ISDIR(lower_.tree.node(ref.lower).mode)) return fail(EPERM);
  return {};
}

Result<Entry> Overlay::link_now(const NodePtr& node, NodeId new_parent, std::string_view new_name) {
  LB_TRY(check_link(node->id, new_parent, new_name));
  LB_ASSIGN(const NodePtr directory, upper_directory(new_parent));
  LB_ASSIGN(const Found found, look({directory, directory->lower}, new_name));
  LB_ASSIGN(const HeldPlace from, place_of(node));
  LB_ASSIGN(const HeldPlace to, place_in(directory, new_name));
  if (node->in_work()) {
    // Its only name is the one we keep it by: give it this one instead.
    LB_TRY(rename_at(from.get(), to.get(), 0));
    move_node(node, directory, std::string(new_name));
  } else if (found.child == nullptr) {
    LB_TRY(link_at(from.get(), to.get()));
  } else {
    const HeldPlace work = work_place();
    LB_TRY(link_at(from.get(), work.get()));
    if (auto moved = rename_at(work.get(), to.get(), 0); !moved) {
      static_cast<void>(unlink_at(work.get()));
      return std::unexpected(moved.error());
    }
  }
  put_child(*directory, new_name, child_of(node));
  node->attr_valid = false;
  directory->attr_valid = false;
  return entry_for(node);
}

}  // namespace layerboot::overlay
