#include "oci-mount/overlay/upper_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdio>
#include <memory>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/remove_tree.h"
#include "oci-mount/overlay/acl.h"

namespace layerboot::overlay {

namespace {

/// No path of ours has more than one component.
Result<UniqueFd> open_beneath(Place place, int flags, mode_t mode = 0) {
  return layerboot::open_beneath(place.dir_fd, place.name, flags, mode);
}

Result<UniqueFd> open_file_at(Place place, int access) {
  LB_ASSIGN(const auto st, stat_at(place));
  if (!S_ISREG(st.st_mode)) return fail(EINVAL);
  return open_beneath(place, access | O_NONBLOCK | O_NOCTTY | O_NOATIME);
}

/// The xattr calls have no *at form before Linux 6.13.
class ProcPath {
 public:
  explicit ProcPath(Place place) {
    std::snprintf(text_.data(), text_.size(), "/proc/self/fd/%d/%s", place.dir_fd, place.name);
  }
  [[nodiscard]] const char* c_str() const { return text_.data(); }

 private:
  std::array<char, 32 + NAME_MAX + 1> text_{};
};

/// Without a name, the place is the descriptor's own object.
bool is_own(Place place) { return *place.name == '\0'; }

Result<void> check(int status) {
  if (status != 0) return fail(errno);
  return {};
}

}  // namespace

Result<struct stat> stat_at(Place place) {
  struct stat st{};
  if (::fstatat(place.dir_fd, place.name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) return fail(errno);
  return st;
}

Result<UniqueFd> open_directory_at(Place place) { return open_beneath(place, O_RDONLY | O_DIRECTORY); }

Result<UniqueFd> open_parent_of(int dir_fd) {
  // Not beneath, by its nature. The upper is a mount of its own in the sandbox, where this ends at its top.
  return open_resolving(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                        RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

Result<UniqueFd> create_regular_at(Place place, std::uint32_t mode) {
  return open_beneath(place, O_RDWR | O_CREAT | O_EXCL | O_NOATIME, mode);
}

Result<UniqueFd> create_nameless_in(int dir_fd, std::uint32_t mode) {
  return open_beneath({dir_fd, "."}, O_TMPFILE | O_RDWR | O_NOATIME, mode);
}

Result<void> link_nameless(int fd, Place place) {
  return check(::linkat(AT_FDCWD, descriptor_path(fd).c_str(), place.dir_fd, place.name, AT_SYMLINK_FOLLOW));
}

Result<UniqueFd> open_regular_at(Place place) { return open_file_at(place, O_RDWR); }
Result<UniqueFd> open_to_read_at(Place place) { return open_file_at(place, O_RDONLY); }

Result<UniqueFd> open_handle_at(Place place) { return open_beneath(place, O_PATH); }

Result<std::string> readlink_at(Place place) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlinkat(place.dir_fd, place.name, target.data(), target.size());
  if (length < 0) return fail(errno);
  return std::string(target.data(), static_cast<std::size_t>(length));
}

Result<void> rename_at(Place from, Place to, unsigned flags) {
  return check(::renameat2(from.dir_fd, from.name, to.dir_fd, to.name, flags));
}

Result<void> unlink_at(Place place, int flags) { return check(::unlinkat(place.dir_fd, place.name, flags)); }

Result<void> link_at(Place from, Place to) {
  return check(::linkat(from.dir_fd, from.name, to.dir_fd, to.name, 0));
}

Result<void> set_owner_at(Place place, std::uint32_t uid, std::uint32_t gid) {
  return check(::fchownat(place.dir_fd, place.name, uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
}

Result<void> set_mode_at(Place place, std::uint32_t mode) {
  if (S_ISLNK(mode)) return {};
  if (is_own(place)) return check(::fchmod(place.dir_fd, mode & kPermissionBits));
  // Safe though fchmodat follows links: the object is none, and nobody else writes here.
  return check(::fchmodat(place.dir_fd, place.name, mode & kPermissionBits, 0));
}

Result<void> set_times_at(Place place, const struct timespec (&times)[2]) {
  return check(::utimensat(place.dir_fd, place.name, times, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
}

Result<void> set_xattr_at(Place place, std::string_view name, std::string_view value, int flags) {
  if (is_own(place)) {
    return check(::fsetxattr(place.dir_fd, std::string(name).c_str(), value.data(), value.size(), flags));
  }
  return check(
      ::lsetxattr(ProcPath(place).c_str(), std::string(name).c_str(), value.data(), value.size(), flags));
}

bool lacks_attribute_room(const Error& error) {
  return error.code == ENOSPC || error.code == E2BIG || error.code == ERANGE;
}

Result<void> remove_xattr_at(Place place, std::string_view name) {
  if (is_own(place)) return check(::fremovexattr(place.dir_fd, std::string(name).c_str()));
  return check(::lremovexattr(ProcPath(place).c_str(), std::string(name).c_str()));
}

Result<void> remove_acls_at(Place place) {
  for (const auto name : {kAccessAclXattr, kDefaultAclXattr}) {
    auto removed = remove_xattr_at(place, name);
    if (removed || removed.error().code == ENODATA || removed.error().code == EOPNOTSUPP) continue;
    return removed;
  }
  return {};
}

Result<std::optional<std::string>> get_xattr_at(Place place, std::string_view name) {
  const ProcPath path(place);
  const std::string key(name);
  std::string value(256, '\0');
  for (;;) {
    ssize_t length = is_own(place) ? ::fgetxattr(place.dir_fd, key.c_str(), value.data(), value.size())
                                   : ::lgetxattr(path.c_str(), key.c_str(), value.data(), value.size());
    // Open by O_PATH, as an object that has lost its name is: /proc's link leads to it all the same.
    if (length < 0 && errno == EBADF && is_own(place))
      length = ::getxattr(descriptor_path(place.dir_fd).c_str(), key.c_str(), value.data(), value.size());
    if (length >= 0) {
      value.resize(static_cast<std::size_t>(length));
      return value;
    }
    if (errno == ENODATA || errno == EOPNOTSUPP) return std::nullopt;
    if (errno != ERANGE || value.size() >= XATTR_SIZE_MAX) return fail(errno);
    value.resize(XATTR_SIZE_MAX);
  }
}

Result<std::vector<std::string>> list_xattrs_at(Place place) {
  std::string names(XATTR_LIST_MAX, '\0');
  const ssize_t length = is_own(place) ? ::flistxattr(place.dir_fd, names.data(), names.size())
                                       : ::llistxattr(ProcPath(place).c_str(), names.data(), names.size());
  if (length < 0) {
    if (errno == EOPNOTSUPP) return std::vector<std::string>{};
    return fail(errno);
  }
  std::vector<std::string> list;
  std::string_view rest(names.data(), static_cast<std::size_t>(length));
  while (!rest.empty()) {
    const auto end = rest.find('\0');
    list.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return list;
}

Result<void> each_in_directory(int dir_fd, const std::function<Result<void>(const HostDirent&)>& take) {
  LB_ASSIGN(UniqueFd own, open_directory_at({dir_fd, "."}));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), &::closedir);
  if (!stream) return fail(errno);
  static_cast<void>(own.release());
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) return errno == 0 ? Result<void>() : fail(errno);
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") LB_TRY(take({std::string(name), entry->d_type, entry->d_ino}));
  }
}

Result<std::vector<HostDirent>> list_directory(int dir_fd) {
  std::vector<HostDirent> list;
  LB_TRY(each_in_directory(dir_fd, [&list](const HostDirent& entry) -> Result<void> {
    list.push_back(entry);
    return {};
  }));
  return list;
}

Result<void> remove_tree_at(Place place) { return layerboot::remove_tree_at(place.dir_fd, place.name); }

}  // namespace layerboot::overlay
