#include "oci-mount/mount/fuse_ops.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/mount/fuse_reply.h"
#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::mount {

namespace {

constexpr unsigned kMaxBackground = 64;   // requests the kernel may have open for read-ahead and the like
constexpr std::size_t kUsualGroups = 64;  // that a caller is in; more are asked for again

// What libfuse 3.14 would switch on by itself and must not, and what it leaves off:
// - with ATOMIC_O_TRUNC the kernel would leave truncating to an OPEN that never comes;
// - with ASYNC_DIO a page that is read beside a direct write stays as it was (vfsd/DESIGN.md, "What a client
// keeps");
// - HANDLE_KILLPRIV would make us clear setuid bits; without it the kernel sends a SETATTR;
// - splicing gains nothing where replies come from our own memory;
// - with POSIX_ACL the kernel obeys ACLs, also those of an image that is only read, and it takes DONT_MASK
// with it, as a default ACL replaces the umask. It would check all permissions then, whatever was asked for.
void init(void* userdata, fuse_conn_info* connection) {
  Door& door = *static_cast<Door*>(userdata);
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_SPLICE_READ |
                             FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA);
  if (!door.read_only) connection->want &= ~static_cast<unsigned>(FUSE_CAP_ASYNC_DIO);
  connection->want |=
      connection->capable &
      static_cast<unsigned>(FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_READDIRPLUS |
                            FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS);
  constexpr auto kAclFlags = static_cast<unsigned>(FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK);
  door.heeds_acls = !door.reads_all && (connection->capable & kAclFlags) == kAclFlags;
  if (door.heeds_acls) connection->want |= kAclFlags;
  connection->max_background = kMaxBackground;
  connection->time_gran = 1;
  door.opens_without_asking = (connection->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
  door.lists_without_asking = (connection->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
  door.initialised = true;
}

/// Whether the caller is of `group`: what in_group_or_capable() asks. A caller whose groups are not to be had
/// is a stranger.
bool is_in_group(fuse_req_t request, std::uint32_t group) {
  const fuse_ctx* context = ::fuse_req_ctx(request);
  if (context->uid == 0 || context->gid == group) return true;
  std::vector<gid_t> groups(kUsualGroups);
  int count = ::fuse_req_getgroups(request, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<std::size_t>(count));
    count = std::min(::fuse_req_getgroups(request, count, groups.data()), count);
  }
  if (count < 0) return false;
  groups.resize(static_cast<std::size_t>(count));
  return std::ranges::find(groups, group) != groups.end();
}

/// Of who makes an object of `mode` in `parent`. A group of the directory's matters to a new setgid file
/// only.
vfs::Caller caller_of(fuse_req_t request, fuse_ino_t parent, std::uint32_t mode) {
  const fuse_ctx* context = ::fuse_req_ctx(request);
  const Door& door = door_of(request);
  vfs::Caller caller{.uid = context->uid, .gid = context->gid};
  if (door.heeds_acls) caller.umask = context->umask & kAccessBits;
  if ((mode & S_ISGID) == 0) return caller;
  const auto directory = door.fs.getattr(parent);
  if (directory && is_in_group(request, directory->gid)) caller.also_in = directory->gid;
  return caller;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply_entry(request, door_of(request).fs.lookup(parent, name));
}

void forget(fuse_req_t request, fuse_ino_t node, std::uint64_t count) {
  door_of(request).fs.forget(node, count);
  ::fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
  for (std::size_t i = 0; i < count; ++i) door_of(request).fs.forget(forgets[i].ino, forgets[i].nlookup);
  ::fuse_reply_none(request);
}

void getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info*) {
  reply_attr(request, door_of(request).fs.getattr(node));
}

vfs::TimeChange time_change(bool now, const timespec& time) {
  return {.now = now, .time = overlay::time_of(time)};
}

void setattr(fuse_req_t request, fuse_ino_t node, struct stat* wanted, int to_set, fuse_file_info*) {
  vfs::AttrChange change;
  if (to_set & FUSE_SET_ATTR_MODE) change.mode = wanted->st_mode & kPermissionBits;
  if (to_set & FUSE_SET_ATTR_UID) change.uid = wanted->st_uid;
  if (to_set & FUSE_SET_ATTR_GID) change.gid = wanted->st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) change.size_bytes = static_cast<std::uint64_t>(wanted->st_size);
  const bool atime_now = (to_set & FUSE_SET_ATTR_ATIME_NOW) != 0;
  const bool mtime_now = (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0;
  if (atime_now || (to_set & FUSE_SET_ATTR_ATIME)) change.atime = time_change(atime_now, wanted->st_atim);
  if (mtime_now || (to_set & FUSE_SET_ATTR_MTIME)) change.mtime = time_change(mtime_now, wanted->st_mtim);
  Door& door = door_of(request);
  run(door, door.fs.setattr(*door.reactor, node, change),
      [request](const Result<vfs::Attr>& attr) { reply_attr(request, attr); });
}

void readlink(fuse_req_t request, fuse_ino_t node) {
  const auto target = door_of(request).fs.readlink(node);
  if (!target) return reply_error(request, target.error());
  ::fuse_reply_readlink(request, target->c_str());
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  // libfuse hands on the kernel's number, which is in new_encode_dev() form.
  reply_entry(request, door_of(request).fs.mknod(parent, name, mode, static_cast<std::uint32_t>(rdev),
                                                 caller_of(request, parent, mode)));
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  reply_entry(request,
              door_of(request).fs.mkdir(parent, name, mode & kPermissionBits, caller_of(request, parent, 0)));
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  reply_entry(request, door_of(request).fs.symlink(parent, name, target, caller_of(request, parent, 0)));
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* file) {
  const auto entry = door_of(request).fs.create(
      parent, name, mode & kPermissionBits, (file->flags & O_EXCL) != 0, caller_of(request, parent, mode));
  if (!entry) return reply_error(request, entry.error());
  const fuse_entry_param param = entry_param_of(*entry);
  file->keep_cache = 1;
  ::fuse_reply_create(request, &param, file);
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply_done(request, door_of(request).fs.unlink(parent, name));
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply_done(request, door_of(request).fs.rmdir(parent, name));
}

void link(fuse_req_t request, fuse_ino_t node, fuse_ino_t new_parent, const char* new_name) {
  Door& door = door_of(request);
  auto kept = std::make_shared<const std::string>(new_name);
  auto task = door.fs.link(*door.reactor, node, new_parent, *kept);
  run(door, std::move(task),
      [request, kept](const Result<vfs::Entry>& entry) { reply_entry(request, entry); });
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  struct Names {
    std::string from;
    std::string to;
  };
  Door& door = door_of(request);
  auto kept = std::make_shared<const Names>(name, new_name);
  auto task = door.fs.rename(*door.reactor, parent, kept->from, new_parent, kept->to, flags);
  run(door, std::move(task), [request, kept](const Result<void>& done) { reply_done(request, done); });
}

/// Where the kernel does not obey ACLs nobody shall believe that one could be stored. What a copy of the
/// whole image needs is read all the same.
bool refuses_acl(const Door& door, std::string_view name, bool changes) {
  const bool reads = door.reads_all && !changes;
  return overlay::is_acl_xattr(name) && !door.heeds_acls && !reads;
}

void getxattr(fuse_req_t request, fuse_ino_t node, const char* name, std::size_t room_bytes) {
  if (refuses_acl(door_of(request), name, false)) return reply_error(request, Error{EOPNOTSUPP, {}});
  reply_xattr(request, door_of(request).fs.getxattr(node, name), room_bytes);
}

void listxattr(fuse_req_t request, fuse_ino_t node, std::size_t room_bytes) {
  reply_xattr(request, door_of(request).fs.listxattr(node), room_bytes);
}

void setxattr(fuse_req_t request, fuse_ino_t node, const char* name, const char* value,
              std::size_t size_bytes, int flags) {
  struct Pair {
    std::string name;
    std::string value;
  };
  Door& door = door_of(request);
  if (refuses_acl(door, name, true)) return reply_error(request, Error{EOPNOTSUPP, {}});
  auto kept = std::make_shared<const Pair>(name, std::string(value, size_bytes));
  auto all_flags = static_cast<std::uint32_t>(flags);
  // libfuse has no SETXATTR_EXT, by which the kernel would say so.
  if (kept->name == overlay::kAccessAclXattr) {
    const auto attr = door.fs.getattr(node);
    if (attr && (attr->mode & S_ISGID) != 0 && !is_in_group(request, attr->gid)) {
      all_flags |= vfs::kXattrKillSgid;
    }
  }
  auto task = door.fs.setxattr(*door.reactor, node, kept->name, kept->value, all_flags);
  run(door, std::move(task), [request, kept](const Result<void>& done) { reply_done(request, done); });
}

void removexattr(fuse_req_t request, fuse_ino_t node, const char* name) {
  Door& door = door_of(request);
  if (refuses_acl(door, name, true)) return reply_error(request, Error{EOPNOTSUPP, {}});
  auto kept = std::make_shared<const std::string>(name);
  auto task = door.fs.removexattr(*door.reactor, node, *kept);
  run(door, std::move(task), [request, kept](const Result<void>& done) { reply_done(request, done); });
}

}  // namespace

void set_name_operations(fuse_lowlevel_ops& operations) {
  operations.init = init;
  operations.lookup = lookup;
  operations.forget = forget;
  operations.forget_multi = forget_multi;
  operations.getattr = getattr;
  operations.setattr = setattr;
  operations.readlink = readlink;
  operations.mknod = mknod;
  operations.mkdir = mkdir;
  operations.symlink = symlink;
  operations.create = create;
  operations.unlink = unlink;
  operations.rmdir = rmdir;
  operations.link = link;
  operations.rename = rename;
  operations.getxattr = getxattr;
  operations.listxattr = listxattr;
  operations.setxattr = setxattr;
  operations.removexattr = removexattr;
}

fuse_lowlevel_ops fuse_operations() {
  fuse_lowlevel_ops operations{};
  set_name_operations(operations);
  set_data_operations(operations);
  return operations;
}

}  // namespace layerboot::mount
