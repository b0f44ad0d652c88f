// TreePosition: a directory on a walk down and up a tree, of any depth, by one descriptor and names alone.
#pragma once

#include <sys/stat.h>

#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

inline constexpr mode_t kOurs = 0700;

/// The directory `name`, which is no mount. `repair`: one of ours that we may not list is made one that we
/// may (kOurs). Bare errors; EXDEV for a mount.
Result<UniqueFd> open_directory_to_walk(int dir_fd, const char* name, bool repair);

/// Follows no symlink and enters no other mount.
class TreePosition {
 public:
  explicit TreePosition(UniqueFd top) : here_(std::move(top)) {}

  [[nodiscard]] int fd() const { return here_.get(); }

  /// As open_directory_to_walk().
  Result<void> enter(const char* name, bool repair = false);
  /// To the directory that it came from. ESTALE where that is not the one above any more, since somebody has
  /// moved this one meanwhile. REQUIRES: it is not at the top.
  Result<void> leave();

 private:
  struct Identity {
    dev_t device;
    ino_t inode;
    friend bool operator==(const Identity&, const Identity&) = default;
  };
  static Result<Identity> identity_of(int fd);

  UniqueFd here_;
  std::vector<Identity> above_;
};

}  // namespace layerboot
