#include "launcher/host/disk_usage.h"

#include <fts.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "oci-mount/base/disk_blocks.h"

namespace layerboot::launcher {

Result<DiskUsage> disk_usage(const std::filesystem::path& directory) {
  std::string path = directory.string();
  char* const paths[] = {path.data(), nullptr};
  struct Close {
    void operator()(FTS* walk) const { ::fts_close(walk); }
  };
  const std::unique_ptr<FTS, Close> walk(::fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, nullptr));
  if (!walk) return errno_error("cannot look at ", path);
  DiskUsage usage;
  std::set<std::pair<dev_t, ino_t>> linked;
  for (errno = 0; const FTSENT* entry = ::fts_read(walk.get()); errno = 0) {
    if (entry->fts_info == FTS_NS && entry->fts_level == 0 && entry->fts_errno == ENOENT) return usage;
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR) {
      usage.complete = usage.complete && entry->fts_errno == ENOENT;
      continue;
    }
    if (entry->fts_info == FTS_DP || entry->fts_level == 0) continue;
    const struct stat& st = *entry->fts_statp;
    if (st.st_nlink > 1 && !S_ISDIR(st.st_mode) && !linked.emplace(st.st_dev, st.st_ino).second) continue;
    usage.size_bytes += layerboot::allocated_bytes(st);
    ++usage.inodes;
  }
  if (errno != 0) return errno_error("cannot look at ", path);
  return usage;
}

Result<std::uint64_t> allocated_bytes(const std::filesystem::path& file) {
  struct stat st{};
  if (::stat(file.c_str(), &st) != 0) return errno_error(file.string());
  return layerboot::allocated_bytes(st);
}

}  // namespace layerboot::launcher
