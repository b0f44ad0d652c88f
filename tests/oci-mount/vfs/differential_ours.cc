// Ours, and of Linux's client what a FileSystem leaves to it: names that it knows, permission checks (made:
// the actor may), and which set-id bits an actor may not keep. Follows fs/attr.c, fs/posix_acl.c and
// fs/fuse/{dir,file,acl}.c of Linux 6.1 to 6.18, as vfsd/fuse/privileges.h does for the requests of that
// client.
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>

#include "oci-mount/overlay/acl.h"
#include "tests/oci-mount/vfs/differential.h"
#include "tests/oci-mount/vfs/differential_caller.h"
#include "tests/oci-mount/vfs/differential_names.h"
#include "tests/oci-mount/vfs/fs_driver.h"

namespace layerboot::test {

namespace {

int code_of(const auto& result) { return result ? 0 : result.error().code; }

}  // namespace

struct OurSide::Impl {
  Impl(vfs::FileSystem& file_system, Client client_in)
      : fs(file_system), driver(file_system), client(client_in) {}
  ~Impl() {
    for (const auto slot : slots) {
      if (slot != 0) fs.forget(slot, 1);
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  using Name = KnownNames::Name;

  vfs::FileSystem& fs;
  FsDriver driver;
  Client client;
  KnownNames names{fs};
  std::array<vfs::NodeId, kSlots> slots{};

  template <typename T>
  T wait(Task<T> task) {
    return driver.reactor->block_on(std::move(task));
  }

  Result<vfs::NodeId> find(const Spot& spot) {
    if (spot.slot == Spot::kNone) return names.find(spot.path);
    const auto held = slots.at(static_cast<std::size_t>(spot.slot));
    if (held == 0) return fail(ENOENT);
    return held;
  }
  Result<Name> split(const std::string& path) { return names.split(path); }
  void after_operation() { client == Client::kCold ? names.forget_all() : names.forget_some(); }

  // ---- operations
  static vfs::Writer writer_as(const Actor& actor) {
    return actor.is_root() ? vfs::Writer::kPrivileged : vfs::Writer::kUnprivileged;
  }
  int write_to(vfs::NodeId node, std::uint64_t offset, const std::string& data, const Actor& actor) {
    if (data.empty()) return 0;
    if (const int code = drop_stranger_group(node, actor); code != 0) return code;
    const iovec piece{const_cast<char*>(data.data()), data.size()};
    const auto done = fs.try_write(node, offset, {&piece, 1}, writer_as(actor));
    if (!done) return done.error().code;
    if (*done != vfs::FileSystem::kWouldWait) return 0;
    return code_of(wait(fs.write(*driver.reactor, node, offset, {&piece, 1}, writer_as(actor))));
  }
  /// The one bit that the flag to a write does not speak of.
  int drop_stranger_group(vfs::NodeId node, const Actor& actor) {
    const auto attr = fs.getattr(node);
    if (!attr) return attr.error().code;
    const bool marks_only = (attr->mode & (S_ISGID | S_IXGRP)) == S_ISGID;
    return !actor.is_root() && marks_only && !actor.is_in(attr->gid) ? drop_set_id(node, actor) : 0;
  }
  /// file_remove_privs(), before what has no flag for it.
  int drop_set_id(vfs::NodeId node, const Actor& actor) {
    const auto attr = fs.getattr(node);
    if (!attr) return attr.error().code;
    vfs::AttrChange change;
    change.mode = kept_mode(*attr, actor);
    if (actor.is_root() || *change.mode == (attr->mode & kPermissionBits)) return 0;
    return code_of(wait(fs.setattr(*driver.reactor, node, change)));
  }
  Result<vfs::Entry> make(const Operation& op, const Name& at) {
    const auto caller = caller_of(op.actor);
    switch (op.kind) {
      case Kind::kCreate:
        return fs.create(at.first, at.second, op.mode, op.is_exclusive, caller);
      case Kind::kMknod:
        return fs.mknod(at.first, at.second, op.mode, op.rdev, caller);
      case Kind::kMkdir:
        return fs.mkdir(at.first, at.second, op.mode & 01777U, caller);  // vfs_mkdir()
      default:
        return fs.symlink(at.first, at.second, op.data, caller);
    }
  }
  int make_new(const Operation& op) {
    const auto at = split(op.object.path);
    if (!at) return at.error().code;
    const auto made = make(op, *at);
    if (!made) return made.error().code;
    names.learn(*at, made->id);
    return op.kind == Kind::kCreate ? write_to(made->id, 0, op.data, op.actor) : 0;
  }
  int remove(const Operation& op) {
    const auto at = split(op.object.path);
    if (!at) return at.error().code;
    const int code = code_of(op.kind == Kind::kUnlink ? fs.unlink(at->first, at->second)
                                                      : fs.rmdir(at->first, at->second));
    if (code == 0) names.drop(*at);
    return code;
  }
  int link(const Operation& op) {
    const auto node = find(op.object);
    if (!node) return node.error().code;
    const auto to = split(op.other.path);
    if (!to) return to.error().code;
    // vfs_link(): the client's own count says so.
    const auto attr = fs.getattr(*node);
    if (attr && attr->nlink == 0 && code_of(names.step(to->first, to->second)) == ENOENT) return ENOENT;
    const auto made = wait(fs.link(*driver.reactor, *node, to->first, to->second));
    if (!made) return made.error().code;
    names.learn(*to, made->id);
    return 0;
  }
  int rename(const Operation& op) {
    const auto from = split(op.object.path);
    if (!from) return from.error().code;
    const auto to = split(op.other.path);
    if (!to) return to.error().code;
    // do_renameat2()
    if ((op.flags & RENAME_EXCHANGE) != 0 && op.flags != RENAME_EXCHANGE) return EINVAL;
    // The client has looked both up before.
    if (const int unknown = code_of(names.step(from->first, from->second)); unknown != 0) return unknown;
    const int code =
        code_of(wait(fs.rename(*driver.reactor, from->first, from->second, to->first, to->second, op.flags)));
    if (code != 0 || *from == *to) return code;
    names.rename(*from, *to, (op.flags & RENAME_EXCHANGE) != 0);
    return 0;
  }
  int tmpfile_link(const Operation& op) {
    const auto to = split(op.other.path);
    if (!to) return to.error().code;
    const auto made = fs.tmpfile(to->first, op.mode, caller_of(op.actor));
    if (!made) return made.error().code;
    int code = write_to(made->id, 0, op.data, op.actor);
    if (code == 0) {
      const auto linked = wait(fs.link(*driver.reactor, made->id, to->first, to->second));
      code = code_of(linked);
      if (linked) names.learn(*to, linked->id);
    }
    fs.forget(made->id, 1);
    return code;
  }
  int change(const Operation& op, vfs::NodeId node);
  int set_xattr(const Operation& op, vfs::NodeId node);
  Answer on_data(const Operation& op, vfs::NodeId node);
  Answer seek(const Operation& op, vfs::NodeId node);
  Answer copy_range(const Operation& op, vfs::NodeId from);
  Answer list(const std::string& path, std::vector<std::string>* only_names = nullptr);
  Answer run(const Operation& op);
  Result<View> view_of(vfs::NodeId node);
};

/// chmod(2), chown(2), utimensat(2), truncate(2).
int OurSide::Impl::change(const Operation& op, vfs::NodeId node) {
  const auto attr = fs.getattr(node);
  if (!attr) return attr.error().code;
  vfs::AttrChange change;
  switch (op.kind) {
    case Kind::kChmod:
      // setattr_prepare(): who is not of the group can't make a file setgid.
      change.mode = op.mode;
      if (!op.actor.is_root() && !op.actor.is_in(attr->gid)) *change.mode &= ~std::uint32_t{S_ISGID};
      break;
    case Kind::kChown:
      if (op.uid != ~0U) change.uid = op.uid;
      if (op.gid != ~0U) change.gid = op.gid;
      change.kill_suid_sgid = !S_ISDIR(attr->mode);
      // ATTR_KILL_PRIV
      if (!S_ISDIR(attr->mode)) {
        static_cast<void>(wait(fs.removexattr(*driver.reactor, node, "security.capability")));
      }
      break;
    case Kind::kUtimes:
      change.atime = op.atime;
      change.mtime = op.mtime;
      break;
    default:
      change.size_bytes = op.length;
      if (!op.actor.is_root()) change.mode = kept_mode(*attr, op.actor);
  }
  return code_of(wait(fs.setattr(*driver.reactor, node, change)));
}

int OurSide::Impl::set_xattr(const Operation& op, vfs::NodeId node) {
  // xattr_permission()
  const auto before = fs.getattr(node);
  const bool may_carry = before && (S_ISREG(before->mode) || S_ISDIR(before->mode));
  if (op.name.starts_with("user.") && !may_carry) return EPERM;
  if (overlay::is_acl_xattr(op.name) && before && S_ISLNK(before->mode)) return EOPNOTSUPP;
  if (op.kind == Kind::kRemovexattr) return code_of(wait(fs.removexattr(*driver.reactor, node, op.name)));
  std::uint32_t flags = op.flags;
  if (overlay::is_acl_xattr(op.name)) {
    if (!before) return before.error().code;
    flags = 0;
    const bool may_keep = op.actor.is_root() || op.actor.is_in(before->gid);
    if (op.name == overlay::kAccessAclXattr && !may_keep) flags = vfs::kXattrKillSgid;
  }
  return code_of(wait(fs.setxattr(*driver.reactor, node, op.name, op.data, flags)));
}

Answer OurSide::Impl::seek(const Operation& op, vfs::NodeId node) {
  const auto attr = fs.getattr(node);
  if (!attr) return {attr.error().code, {}};
  const auto at = fs.lseek(node, op.offset, op.flags);
  if (op.offset >= attr->size_bytes || (!at && at.error().code != ENXIO)) return {code_of(at), {}};
  if (op.flags == SEEK_HOLE) {
    return {0, at && *at >= op.offset && *at <= attr->size_bytes ? "true" : "no place of a hole"};
  }
  const std::string content = driver.read_node(node);
  const std::uint64_t end = at.value_or(attr->size_bytes);
  const bool is_hole =
      std::all_of(content.begin() + static_cast<std::ptrdiff_t>(op.offset),
                  content.begin() + static_cast<std::ptrdiff_t>(end), [](char byte) { return byte == '\0'; });
  return {0, is_hole ? "true" : "passes over data"};
}

Answer OurSide::Impl::copy_range(const Operation& op, vfs::NodeId from) {
  const auto to = find(op.other);
  if (!to) return {to.error().code, {}};
  const auto attr = fs.getattr(from);
  if (!attr) return {attr.error().code, {}};
  if (op.offset >= attr->size_bytes) return {0, "0"};  // generic_copy_file_checks()
  if (const int code = drop_set_id(*to, op.actor); code != 0) return {code, {}};
  const auto count = wait(fs.copy_file_range(*driver.reactor, from, op.offset, *to, op.to_offset, op.length));
  return count ? Answer{0, std::to_string(*count)} : Answer{count.error().code, {}};
}

Answer OurSide::Impl::on_data(const Operation& op, vfs::NodeId node) {
  switch (op.kind) {
    case Kind::kRead: {
      std::string bytes(op.length, '\0');
      const iovec into{bytes.data(), bytes.size()};
      auto got = fs.try_read(node, op.offset, {&into, 1});
      if (got && *got == vfs::FileSystem::kWouldWait) {
        const auto read = wait(fs.read(*driver.reactor, node, op.offset, {&into, 1}));
        got = read ? Result<std::int64_t>(static_cast<std::int64_t>(*read)) : std::unexpected(read.error());
      }
      if (!got) return {got.error().code, {}};
      bytes.resize(static_cast<std::size_t>(*got));
      return {0, bytes};
    }
    case Kind::kWrite:
      return {write_to(node, op.offset, op.data, op.actor), {}};
    case Kind::kFallocate:
      if (const int code = drop_set_id(node, op.actor); code != 0) return {code, {}};
      return {code_of(wait(fs.fallocate(*driver.reactor, node, op.flags, op.offset, op.length))), {}};
    case Kind::kSeek:
      return seek(op, node);
    default:
      return copy_range(op, node);
  }
}

Answer OurSide::Impl::list(const std::string& path, std::vector<std::string>* only_names) {
  const auto node = find({.path = path});
  if (!node) return {node.error().code, {}};
  const auto entries = names.list(*node);
  if (!entries) return {entries.error().code, {}};
  Answer answer;
  for (const auto& [name, type] : *entries) {
    answer.told += name + " " + std::to_string(type) + "\n";
    if (only_names != nullptr) only_names->push_back(name);
  }
  return answer;
}

Answer OurSide::Impl::run(const Operation& op) {
  switch (op.kind) {
    case Kind::kCreate:
    case Kind::kMknod:
    case Kind::kMkdir:
    case Kind::kSymlink:
      return {make_new(op), {}};
    case Kind::kUnlink:
    case Kind::kRmdir:
      return {remove(op), {}};
    case Kind::kLink:
      return {link(op), {}};
    case Kind::kRename:
      return {rename(op), {}};
    case Kind::kTmpfileLink:
      return {tmpfile_link(op), {}};
    case Kind::kReaddir:
      return list(op.object.path);
    default:
      break;
  }
  const auto node = find(op.object);
  if (!node) return {node.error().code, {}};
  switch (op.kind) {
    case Kind::kLookup:
      return {};
    case Kind::kHold: {
      auto& slot = slots.at(static_cast<std::size_t>(op.other.slot));
      const auto entry = op.object.path.empty() ? Result<Name>(Name{}) : split(op.object.path);
      if (slot != 0) fs.forget(slot, 1);
      slot = 0;
      if (op.object.path.empty()) return {};
      const auto held = fs.lookup(entry->first, entry->second);
      slot = held->id;
      return {};
    }
    case Kind::kTruncate:
    case Kind::kChmod:
    case Kind::kChown:
    case Kind::kUtimes:
      return {change(op, *node), {}};
    case Kind::kSetxattr:
    case Kind::kRemovexattr:
      return {set_xattr(op, *node), {}};
    default:
      return on_data(op, *node);
  }
}

Result<View> OurSide::Impl::view_of(vfs::NodeId node) {
  LB_ASSIGN(const auto attr, fs.getattr(node));
  View view{.ino = attr.ino,
            .mode = attr.mode,
            .uid = attr.uid,
            .gid = attr.gid,
            .nlink = attr.nlink,
            .rdev = attr.rdev,
            .size_bytes = attr.size_bytes,
            .atime = attr.atime,
            .mtime = attr.mtime,
            .content = {},
            .xattrs = {}};
  if (S_ISREG(attr.mode)) view.content = driver.read_node(node);
  if (S_ISLNK(attr.mode)) {
    LB_ASSIGN(view.content, fs.readlink(node));
  }
  LB_ASSIGN(const auto xattr_names, fs.listxattr(node));
  std::istringstream rest(xattr_names);
  for (std::string name; std::getline(rest, name, '\0');) {
    LB_ASSIGN(const auto value, fs.getxattr(node, name));
    view.xattrs.emplace_back(name, value);
  }
  std::ranges::sort(view.xattrs);
  return view;
}

OurSide::OurSide(vfs::FileSystem& fs, Client client) : impl_(std::make_unique<Impl>(fs, client)) {}
OurSide::~OurSide() = default;

Answer OurSide::run(const Operation& operation) {
  const Answer answer = impl_->run(operation);
  impl_->after_operation();
  return answer;
}

Result<View> OurSide::view(const Spot& spot) {
  const auto node = impl_->find(spot);
  auto view = node ? impl_->view_of(*node) : Result<View>(std::unexpected(node.error()));
  impl_->after_operation();
  return view;
}

std::string OurSide::look(const Spot& spot) {
  const auto seen = view(spot);
  return seen ? seen->line() : "error: " + std::to_string(seen.error().code);
}

std::vector<std::string> OurSide::names_in(const std::string& path) {
  std::vector<std::string> names;
  static_cast<void>(impl_->list(path, &names));
  impl_->after_operation();
  return names;
}

}  // namespace layerboot::test
