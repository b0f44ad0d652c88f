#include "oci-mount/base/tree_position.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include "oci-mount/base/files.h"

namespace layerboot {

Result<TreePosition::Identity> TreePosition::identity_of(int fd) {
  struct stat st{};
  if (::fstat(fd, &st) != 0) return fail(errno);
  return Identity{st.st_dev, st.st_ino};
}

Result<UniqueFd> open_directory_to_walk(int dir_fd, const char* name, bool repair) {
  auto directory = open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY);
  if (!directory && directory.error().code == EACCES && repair && ::fchmodat(dir_fd, name, kOurs, 0) == 0)
    directory = open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY);
  return directory;
}

Result<void> TreePosition::enter(const char* name, bool repair) {
  LB_ASSIGN(const Identity own, identity_of(here_.get()));
  LB_ASSIGN(UniqueFd below, open_directory_to_walk(here_.get(), name, repair));
  above_.push_back(own);
  here_ = std::move(below);
  return {};
}

Result<void> TreePosition::leave() {
  // Not beneath, by its nature.
  LB_ASSIGN(UniqueFd up, open_resolving(here_.get(), "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                                        RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV));
  LB_ASSIGN(const Identity found, identity_of(up.get()));
  if (found != above_.back()) return fail(ESTALE);
  here_ = std::move(up);
  above_.pop_back();
  return {};
}

}  // namespace layerboot
