#include "launcher/host/staging_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "launcher/host/disk_usage.h"
#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/remove_tree.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".making-";
constexpr std::string_view kPattern = "XXXXXX";

/// Its name up to what mkdtemp(3) makes of it.
std::string begin_of(const fs::path& target) { return str_cat('.', target.filename().string(), kMark); }

/// The lock on a directory that is there; nothing where somebody else has it. Invalid where the file system
/// has none.
std::optional<UniqueFd> try_lock(const fs::path& directory) {
  auto fd = open_path(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd) return {};
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return {};
    return UniqueFd();
  }
  if (!is_still_at(fd->get(), directory)) return {};
  return *std::move(fd);
}

/// Of those whose names `fits` takes.
std::uint64_t remove_unlocked(const fs::path& directory, const std::function<bool(std::string_view)>& fits) {
  std::uint64_t freed = 0;
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    if (fits(at->path().filename().string())) found.push_back(at->path());
  }
  for (const fs::path& path : found) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != ::geteuid()) continue;
    const auto lock = try_lock(path);
    if (!lock || !*lock) continue;
    const std::uint64_t bytes = disk_usage(path).value_or(DiskUsage()).size_bytes;
    if (remove_tree(path)) freed += bytes;
  }
  return freed;
}

}  // namespace

Result<StagingDirectory> StagingDirectory::create(const fs::path& target, mode_t mode) {
  LB_TRY(make_directories(target.parent_path()));
  for (;;) {
    std::string name = (target.parent_path() / str_cat(begin_of(target), kPattern)).string();
    if (!::mkdtemp(name.data()))
      return errno_error("cannot make a directory in ", target.parent_path().string());
    ::chmod(name.c_str(), mode);
    // Who removes leftovers may take it for one until it is locked.
    if (auto lock = try_lock(name)) return StagingDirectory(std::move(name), target, *std::move(lock));
  }
}

void StagingDirectory::remove_leftovers(const fs::path& target) {
  const std::string begin = begin_of(target);
  remove_unlocked(target.parent_path(), [&](std::string_view name) {
    return name.starts_with(begin) && name.size() == begin.size() + kPattern.size();
  });
}

std::uint64_t StagingDirectory::remove_leftovers_in(const fs::path& directory) {
  return remove_unlocked(directory, [](std::string_view name) {
    return name.starts_with('.') && name.size() > kMark.size() + kPattern.size() &&
           name.substr(0, name.size() - kPattern.size()).ends_with(kMark);
  });
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
