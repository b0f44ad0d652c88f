// Upper: the directory on the host that holds what one VM wrote, in overlayfs's own format.
//
//   DIR/upper   the upper directory proper: mountable as overlayfs's upperdir=
//   DIR/work    objects on their way in or out: half-made copies, unlinked files that are still open
//   DIR/lock    held while a daemon serves it
//   DIR/image   which image it belongs to
// FORMAT.md beside this file says what is in them.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/quota.h"

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
/// A regular file, for reading and writing; ELOOP, ENXIO or EINVAL for anything else, which is never opened.
Result<UniqueFd> open_regular_at(Place place);
Result<std::string> readlink_at(Place place);
Result<void> rename_at(Place from, Place to, unsigned flags);
Result<void> unlink_at(Place place, int flags = 0);
Result<void> link_at(Place from, Place to);
Result<void> set_owner_at(Place place, std::uint32_t uid, std::uint32_t gid);
/// Not for symlinks, which have no mode of their own.
Result<void> set_mode_at(Place place, std::uint32_t mode);
Result<void> set_times_at(Place place, const struct timespec (&times)[2]);
Result<void> set_xattr_at(Place place, std::string_view name, std::string_view value, int flags);
Result<void> remove_xattr_at(Place place, std::string_view name);
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
Result<std::vector<HostDirent>> list_directory(int dir_fd);

/// Removes whatever `place` names, with everything in it. Any depth takes one descriptor and no recursion.
Result<void> remove_tree_at(Place place);

/// Owns the directory. Thread-safe.
class Upper {
 public:
  /// Opens `directory`, making it when it does not exist, locks it, and clears DIR/work. `image_identity` is
  /// written into a new one; an upper of another image is refused, as is one that another daemon serves.
  static Result<Upper> open(const std::filesystem::path& directory, std::string_view image_identity);

  [[nodiscard]] int root_fd() const { return root_.get(); }
  [[nodiscard]] int work_fd() const { return work_.get(); }

  /// What a walk over all of the upper finds.
  struct Survey {
    Quota::Usage usage;  // hard links counted once, whiteouts and the root itself not
    std::vector<std::string>
        moved_directories;  // paths below the upper of those with a redirect, parents first
  };
  [[nodiscard]] Result<Survey> survey() const;

  /// A name nothing in DIR/work has.
  [[nodiscard]] std::string work_name();

  /// Makes a whiteout at `place`, in the upper or in DIR/work. All whiteouts are links of one inode where the
  /// host allows it.
  Result<void> make_whiteout(Place place);

 private:
  Upper(UniqueFd lock, UniqueFd root, UniqueFd work)
      : lock_(std::move(lock)), root_(std::move(root)), work_(std::move(work)) {}

  UniqueFd lock_;
  UniqueFd root_;
  UniqueFd work_;
  std::uint64_t next_work_name_ = 0;  // under the Overlay's lock
};

}  // namespace layerboot::overlay
