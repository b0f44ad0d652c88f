#include "launcher/host/staging_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "oci-mount/base/files.h"
#include "oci-mount/base/remove_tree.h"

namespace layerboot::launcher {

Result<StagingDirectory> StagingDirectory::create(const std::filesystem::path& target, mode_t mode) {
  LB_TRY(make_directories(target.parent_path()));
  std::string name =
      (target.parent_path() / str_cat('.', target.filename().string(), ".making-XXXXXX")).string();
  if (!::mkdtemp(name.data()))
    return errno_error("cannot make a directory in ", target.parent_path().string());
  ::chmod(name.c_str(), mode);
  return StagingDirectory(std::move(name), target);
}

StagingDirectory::~StagingDirectory() {
  // Not what is still mounted in it.
  if (!path_.empty()) static_cast<void>(remove_tree(path_));
}

Result<void> StagingDirectory::commit(const std::filesystem::path& inner) {
  LB_ASSIGN(const UniqueFd fd, open_path(inner, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return errno_error("cannot sync ", inner.string());
  auto named = rename_durably(inner, target_);
  if (!named && (named.error().code == EEXIST || named.error().code == ENOTEMPTY)) return {};
  return named;
}

}  // namespace layerboot::launcher
