// New objects.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/overlay.h"
#include "oci-mount/tree/path_rules.h"
#include "oci-mount/vfs/share_fs.h"

namespace layerboot::vfs {

/// Owner and mode as the directory hands them down.
Result<Nature> ShareFs::inherit(const ShareNode& directory, NewObject& object) {
  LB_ASSIGN(const Attr above, attr_of(directory));
  overlay::inherit_group(above, object.mode, object.caller);
  if (!S_ISLNK(object.mode)) object.mode &= ~(object.caller.umask & kAccessBits);
  return Nature{.mode = object.mode, .uid = object.caller.uid, .gid = object.caller.gid, .rdev = 0};
}

/// Open, for the owner alone until it has its nature.
Result<UniqueFd> ShareFs::make_body(int directory_fd, const std::string& name, const NewObject& object) {
  UniqueFd fd;
  int status = 0;
  switch (object.mode & kTypeBits) {
    case S_IFREG:
      return open_beneath(directory_fd, name.c_str(), O_RDWR | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
    case S_IFDIR:
      status = ::mkdirat(directory_fd, name.c_str(), S_IRWXU);
      break;
    case S_IFLNK:
      status = ::symlinkat(std::string(object.target).c_str(), directory_fd, name.c_str());
      break;
    default:
      status = ::mknodat(directory_fd, name.c_str(), (object.mode & kTypeBits) | S_IRUSR | S_IWUSR, 0);
  }
  if (status != 0) return fail(errno);
  LB_ASSIGN(fd, open_beneath(directory_fd, name.c_str(), O_PATH));
  return fd;
}

/// Removes what was made, unless somebody on the host has put something of theirs in its place.
void ShareFs::take_back(int directory_fd, const std::string& name, int body_fd, std::uint32_t type) {
  const auto made = look_at({body_fd, ""});
  const auto there = look(directory_fd, name);
  if (!made || !there || made->identity.type != type || !(made->identity == there->identity)) return;
  static_cast<void>(overlay::unlink_at({directory_fd, name.c_str()}, type == S_IFDIR ? AT_REMOVEDIR : 0));
}

Result<Entry> ShareFs::make(NodeId parent, std::string_view name, NewObject object) {
  LB_TRY(overlay::check_name(name));
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd directory_fd, open_directory(parent, directory));
  LB_ASSIGN(const Nature nature, inherit(*directory, object));
  const std::string text(name);
  LB_ASSIGN(UniqueFd body, make_body(directory_fd.get(), text, object));
  const auto settle = [&]() -> Result<Entry> {
    LB_ASSIGN(const Seen bare, look_at({body.get(), ""}));
    // Somebody on the host was quicker, and has put something else there.
    if (bare.identity.type != (object.mode & kTypeBits)) return fail(ESTALE);
    LB_TRY(set_nature(keeper_, body.get(), bare.attr, nature));
    LB_ASSIGN(const Seen seen, look_at({body.get(), ""}));
    LB_ASSIGN(const ShareNodePtr node, nodes_.put(directory, name, seen.identity));
    LB_ASSIGN(const Entry entry, give(node, {directory_fd.get(), text.c_str()}, seen));
    return entry;
  };
  auto entry = settle();
  if (!entry) take_back(directory_fd.get(), text, body.get(), object.mode & kTypeBits);
  return entry;
}

Result<Entry> ShareFs::mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t,
                             Caller caller) {
  if ((mode & kTypeBits) == 0) mode |= S_IFREG;
  if (S_ISCHR(mode) || S_ISBLK(mode)) return fail(EPERM);
  if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode)) return fail(EINVAL);
  const std::lock_guard lock(mutex_);
  return make(parent, name, {.mode = mode & (kTypeBits | kPermissionBits), .target = {}, .caller = caller});
}

Result<Entry> ShareFs::mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) {
  const std::lock_guard lock(mutex_);
  return make(parent, name, {.mode = (mode & kPermissionBits) | S_IFDIR, .target = {}, .caller = caller});
}

Result<Entry> ShareFs::symlink(NodeId parent, std::string_view name, std::string_view target, Caller caller) {
  if (!tree::is_valid_symlink_target(target)) return fail(target.empty() ? ENOENT : ENAMETOOLONG);
  const std::lock_guard lock(mutex_);
  return make(parent, name, {.mode = S_IFLNK | 0777, .target = target, .caller = caller});
}

Result<Entry> ShareFs::create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                              Caller caller) {
  const std::lock_guard lock(mutex_);
  auto made =
      make(parent, name, {.mode = (mode & kPermissionBits) | S_IFREG, .target = {}, .caller = caller});
  if (made || made.error().code != EEXIST || exclusive) return made;
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd fd, open_directory(parent, directory));
  return enter(directory, fd.get(), name);
}

Result<Entry> ShareFs::tmpfile(NodeId parent, std::uint32_t mode, Caller caller) {
  const std::lock_guard lock(mutex_);
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd directory_fd, open_directory(parent, directory));
  NewObject object{.mode = (mode & kPermissionBits) | S_IFREG, .target = {}, .caller = caller};
  LB_ASSIGN(const Nature nature, inherit(*directory, object));
  if (!has_room()) return fail(ENFILE);
  LB_ASSIGN(UniqueFd nameless, overlay::create_nameless_in(directory_fd.get(), S_IRUSR | S_IWUSR));
  const auto body = std::make_shared<const UniqueFd>(std::move(nameless));
  LB_ASSIGN(const Seen bare, look_at({body->get(), ""}));
  LB_TRY(set_nature(keeper_, body->get(), bare.attr, nature));
  LB_ASSIGN(const Seen seen, look_at({body->get(), ""}));
  LB_ASSIGN(const ShareNodePtr node, nodes_.put_nameless(seen.identity, body));
  return give(node, {body->get(), ""}, seen);
}

}  // namespace layerboot::vfs
