#include "launcher/host/disk_usage.h"

#include <sys/stat.h>

#include <cerrno>
#include <set>
#include <utility>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/base/walk_tree.h"

namespace layerboot::launcher {

Result<DiskUsage> disk_usage(const std::filesystem::path& directory) {
  DiskUsage usage;
  std::set<std::pair<dev_t, ino_t>> linked;
  const auto walked = walk_tree(
      directory,
      [&](const struct stat& st) {
        if (st.st_nlink > 1 && !S_ISDIR(st.st_mode) && !linked.emplace(st.st_dev, st.st_ino).second) return;
        usage.size_bytes += layerboot::allocated_bytes(st);
        ++usage.inodes;
      },
      [&](int) { usage.complete = false; });
  // A guest that runs moves directories.
  if (!walked && walked.error().code == ESTALE) usage.complete = false;
  if (walked || walked.error().code == ESTALE || walked.error().code == ENOENT) return usage;
  return std::unexpected(walked.error());
}

Result<std::uint64_t> allocated_bytes(const std::filesystem::path& file) {
  struct stat st{};
  if (::stat(file.c_str(), &st) != 0) return errno_error(file.string());
  return layerboot::allocated_bytes(st);
}

}  // namespace layerboot::launcher
