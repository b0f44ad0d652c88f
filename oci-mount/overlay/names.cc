// Making objects: files, directories, symlinks, special files, and further names.
#include <sys/stat.h>

#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/overlay.h"
#include "oci-mount/tree/path_rules.h"

namespace layerboot::overlay {

namespace {

constexpr std::uint32_t kPermissions = 07777;

}  // namespace

Result<Entry> Overlay::make(NodeId parent, std::string_view name, NewObject object) {
  LB_TRY(check_name(name));
  LB_ASSIGN(const Ref ref, find_directory(parent));
  {
    LB_ASSIGN(const Found before, look(ref, name));
    if (before.exists()) return fail(EEXIST);
  }
  LB_ASSIGN(const auto reserved, quota_.reserve(kNewObjectBytes, 1));
  LB_ASSIGN(const NodePtr directory, upper_directory(parent));
  LB_ASSIGN(const auto node, make_named(directory, name, object));
  return entry_for(node);
}

Result<Entry> Overlay::mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                             Caller caller) {
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  const bool is_special = S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
  if (!is_special && !S_ISREG(mode)) return fail(EINVAL);
  mode &= S_IFMT | kPermissions;
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
  LB_ASSIGN(const auto reserved, quota_.reserve(0, 1));
  LB_ASSIGN(Unnamed made,
            make_unnamed(
                ref, {.mode = (mode & kPermissions) | S_IFREG, .rdev = 0, .target = {}, .caller = caller}));
  const NodePtr node = node_for(nullptr, made.work.name, made.nature, made.body.st);
  fds_.put(node->id, std::move(made.body.fd));
  add_node(node);
  return entry_for(node);
}

Task<Result<Entry>> Overlay::link(Reactor& reactor, NodeId id, NodeId new_parent, std::string_view new_name) {
  LB_CO_TRY(check_name(new_name));
  {
    const std::lock_guard lock(mutex_);
    LB_CO_TRY(check_link(id, new_parent, new_name));
  }
  auto copied = co_await copy_up(reactor, id, kNoData);
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
  LB_TRY(quota_.reserve(kNewObjectBytes, 0));
  LB_ASSIGN(const NodePtr directory, upper_directory(new_parent));
  LB_TRY(redirect_data(*node));
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
  LB_TRY(attr_of(*directory));  // no inode is booked for the name, so what the directory has grown by is
  return entry_for(node);
}

}  // namespace layerboot::overlay
