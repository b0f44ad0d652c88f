// The system calls on upper objects. All reach an object by a directory's descriptor and one name, and none
// follows a symlink.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::overlay {

/// A name in a directory: how every object on the host is reached. With the name "", the open object itself,
/// for the calls on one object's attributes. Both are borrowed.
struct Place {
  int dir_fd;
  const char* name;
};

// Thin wrappers that give Results and never follow a symlink; each is one system call unless it says more.
Result<struct stat> stat_at(Place place);
Result<UniqueFd> open_directory_at(Place place);
Result<UniqueFd> open_parent_of(int dir_fd);
/// A new file, for reading and writing; EEXIST where the name is taken.
Result<UniqueFd> create_regular_at(Place place, std::uint32_t mode);
/// The same without a name, on the file system of the directory.
Result<UniqueFd> create_nameless_in(int dir_fd, std::uint32_t mode);
/// Gives it its first name.
Result<void> link_nameless(int fd, Place place);
/// A regular file, for reading and writing; ELOOP, ENXIO or EINVAL for anything else, which is never opened.
Result<UniqueFd> open_regular_at(Place place);
/// The same for reading alone.
Result<UniqueFd> open_to_read_at(Place place);
/// Whatever it is, neither to read nor to write (O_PATH): the object lives for as long as it is open.
Result<UniqueFd> open_handle_at(Place place);
Result<std::string> readlink_at(Place place);
Result<void> rename_at(Place from, Place to, unsigned flags);
Result<void> unlink_at(Place place, int flags = 0);
Result<void> link_at(Place from, Place to);
Result<void> set_owner_at(Place place, std::uint32_t uid, std::uint32_t gid);
/// `mode` with the type bits: a symlink has no mode of its own, and stays as it is.
Result<void> set_mode_at(Place place, std::uint32_t mode);
Result<void> set_times_at(Place place, const struct timespec (&times)[2]);
Result<void> set_xattr_at(Place place, std::string_view name, std::string_view value, int flags);
/// Whether that is what hosts answer where an object has no room for the attribute: for ext4 and btrfs it
/// does not fit the object's block. ENOSPC may also be a full host.
[[nodiscard]] bool lacks_attribute_room(const Error& error);
Result<void> remove_xattr_at(Place place, std::string_view name);
/// Both ACLs of a file or directory; no error where it has none, or the host keeps none.
Result<void> remove_acls_at(Place place);
/// Nothing where there is no such attribute.
Result<std::optional<std::string>> get_xattr_at(Place place, std::string_view name);
/// Host names.
Result<std::vector<std::string>> list_xattrs_at(Place place);

/// One entry of a host directory, without "." and "..".
struct HostDirent {
  std::string name;
  unsigned char type;
  std::uint64_t ino;
};
/// Gives each to `take` as the host tells it, keeping none; an error of `take` ends that.
Result<void> each_in_directory(int dir_fd, const std::function<Result<void>(const HostDirent&)>& take);
/// All at once: for directories that the guest does not fill, or nobody waits for.
Result<std::vector<HostDirent>> list_directory(int dir_fd);

/// Removes whatever `place` names, with everything in it, of any depth (base/remove_tree.h).
Result<void> remove_tree_at(Place place);

}  // namespace layerboot::overlay
