// New objects: made by whom they belong to, so that nothing has to be given away afterwards, which somebody
// on the host could have put something else in the place of.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/overlay.h"
#include "oci-mount/vfs/share_fs.h"

namespace layerboot::vfs {

/// The object itself, of a regular file a descriptor too.
Result<UniqueFd> ShareFs::make_body(int directory_fd, const std::string& name, const NewObject& object,
                                    std::uint32_t mode) {
  const std::uint32_t type = object.mode & kTypeBits;
  if (type == S_IFREG) return open_beneath(directory_fd, name.c_str(), O_RDONLY | O_CREAT | O_EXCL, mode);
  int status = 0;
  if (type == S_IFDIR) {
    status = ::mkdirat(directory_fd, name.c_str(), mode);
  } else if (type == S_IFLNK) {
    status = ::symlinkat(std::string(object.target).c_str(), directory_fd, name.c_str());
  } else {
    status = ::mknodat(directory_fd, name.c_str(), type | mode, 0);
  }
  if (status != 0) return fail(errno);
  return UniqueFd();
}

/// By root's daemon. Owner, group, and what the directory hands down are the kernel's doing.
Result<UniqueFd> ShareFs::make_as_caller(int directory_fd, const std::string& name, const NewObject& object) {
  LB_ASSIGN(const std::uint32_t uid, keeper_.ids().users.to_host(object.caller.uid));
  LB_ASSIGN(const std::uint32_t gid, keeper_.ids().groups.to_host(object.caller.gid));
  const std::uint32_t mode = keeper_.new_mode({.mode = object.mode}, 0);
  const ActingAs caller(uid, gid);
  LB_TRY(caller.outcome());
  if (!name.empty()) return make_body(directory_fd, name, object, mode);
  return overlay::create_nameless_in(directory_fd, mode);
}

/// By an ordinary user's daemon, whose user it belongs to; whose it is in the guest is noted.
Result<UniqueFd> ShareFs::make_and_note(ShareNode& directory, int directory_fd, const std::string& name,
                                        NewObject object) {
  LB_ASSIGN(const Attr above, attr_of(directory));
  overlay::inherit_group(above, object.mode, object.caller);
  const Nature nature{.mode = object.mode, .uid = object.caller.uid, .gid = object.caller.gid, .rdev = 0};
  LB_ASSIGN(const Seen raw, look_at({directory_fd, ""}));
  const bool hands_down = (raw.attr.mode & S_ISGID) != 0;
  const std::uint32_t gid = hands_down ? keeper_.ids().groups.to_guest(raw.attr.gid) : 0;
  const std::uint32_t mode = keeper_.new_mode(nature, gid);
  if (name.empty()) {
    LB_ASSIGN(UniqueFd nameless, overlay::create_nameless_in(directory_fd, mode));
    LB_TRY(keeper_.note_new(nameless.get(), nature));
    return nameless;
  }
  LB_ASSIGN(UniqueFd body, make_body(directory_fd, name, object, mode));
  const auto note = [&]() -> Result<void> {
    if (!S_ISDIR(object.mode)) return body ? keeper_.note_new(body.get(), nature) : Result<void>();
    LB_ASSIGN(const UniqueFd made, open_beneath(directory_fd, name.c_str(), O_PATH | O_DIRECTORY));
    return keeper_.note_new(made.get(), nature);
  };
  if (auto noted = note(); !noted) {
    static_cast<void>(
        overlay::unlink_at({directory_fd, name.c_str()}, S_ISDIR(object.mode) ? AT_REMOVEDIR : 0));
    return std::unexpected(std::move(noted).error());
  }
  return body;
}

Result<Entry> ShareFs::make(NodeId parent, std::string_view name, NewObject object) {
  LB_TRY(overlay::check_name(name));
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd directory_fd, open_directory(parent, directory, Want::kWrite));
  LB_TRY(ask_for_room(directory_fd.get(), name, ShareNodes::bytes_of_new(name)));
  if (!S_ISLNK(object.mode)) object.mode &= ~(object.caller.umask & kAccessBits);
  const std::string text(name);
  LB_ASSIGN(const UniqueFd body, keeper_.is_root()
                                     ? make_as_caller(directory_fd.get(), text, object)
                                     : make_and_note(*directory, directory_fd.get(), text, object));
  note_change(directory);
  if (!body) {
    LB_ASSIGN(const Entry entry, enter(directory, directory_fd.get(), name, ShareNodes::Room::kAsked));
    note_change(entry.id);
    return entry;
  }
  LB_ASSIGN(const Seen seen, look_at({body.get(), ""}));
  LB_ASSIGN(const ShareNodePtr node, nodes_.put(directory, name, seen.identity, ShareNodes::Room::kAsked));
  auto entry = give(node, {body.get(), ""}, seen);
  if (entry) note_change(node);
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
  if (!is_valid_symlink_target(target)) return fail(target.empty() ? ENOENT : ENAMETOOLONG);
  const std::lock_guard lock(mutex_);
  return make(parent, name, {.mode = S_IFLNK | 0777, .target = target, .caller = caller});
}

Result<Entry> ShareFs::create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                              Caller caller) {
  const std::lock_guard lock(mutex_);
  // The client opens it next: without room for that, no file is to be left behind.
  if (!has_room()) return fail(ENFILE);
  auto made =
      make(parent, name, {.mode = (mode & kPermissionBits) | S_IFREG, .target = {}, .caller = caller});
  if (made || made.error().code != EEXIST || exclusive) return made;
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd fd, open_directory(parent, directory, Want::kWrite));
  return enter(directory, fd.get(), name);
}

Result<Entry> ShareFs::tmpfile(NodeId parent, std::uint32_t mode, Caller caller) {
  const std::lock_guard lock(mutex_);
  ShareNodePtr directory;
  LB_ASSIGN(const UniqueFd directory_fd, open_directory(parent, directory, Want::kWrite));
  if (!has_room()) return fail(ENFILE);
  if (!nodes_.has_room(ShareNodes::kNodeBytes)) return fail(ENOMEM);
  NewObject object{.mode = (mode & kPermissionBits) | S_IFREG, .target = {}, .caller = caller};
  object.mode &= ~(caller.umask & kAccessBits);
  LB_ASSIGN(UniqueFd nameless, keeper_.is_root() ? make_as_caller(directory_fd.get(), {}, object)
                                                 : make_and_note(*directory, directory_fd.get(), {}, object));
  const auto body = std::make_shared<const UniqueFd>(std::move(nameless));
  LB_ASSIGN(const Seen seen, look_at({body->get(), ""}));
  const ShareNodePtr node = nodes_.put_nameless(seen.identity, body);
  return give(node, {body->get(), ""}, seen);
}

}  // namespace layerboot::vfs
