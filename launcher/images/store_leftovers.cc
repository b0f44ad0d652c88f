#include "launcher/images/store_leftovers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

/// Names of containers/image's temporary files (oci/layout/oci_dest.go), where somebody else's skopeo was at
/// work.
constexpr std::string_view kPrefix = "oci-put-blob";
/// Of the directories in which ours works (store_pull.cc).
constexpr std::string_view kStagingPrefix = ".pull.making-";

/// Removes the file, unless somebody has it open. Gives whether it is gone.
Result<bool> remove_file(const fs::path& path, Leftovers& removed) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return true;
  if (S_ISREG(st.st_mode)) {
    LB_ASSIGN(const bool busy, is_open_elsewhere(path));
    if (busy) return false;
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove ", path.string());
  removed.freed_bytes += allocated_bytes(st);
  ++removed.files;
  return true;
}

Result<void> remove_staging(const fs::path& directory, Leftovers& removed) {
  std::error_code error;
  bool all_gone = true;
  for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    if (at->is_directory(error) && !at->is_symlink(error)) continue;
    LB_ASSIGN(const bool gone, remove_file(at->path(), removed));
    all_gone &= gone;
  }
  if (all_gone) fs::remove_all(directory, error);
  return {};
}

}  // namespace

// The kernel grants a lease for writing on a file that is open nowhere else only.
Result<bool> is_open_elsewhere(const fs::path& path) {
  LB_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NOFOLLOW));
  if (::fcntl(fd.get(), F_SETLEASE, F_WRLCK) != 0) return true;
  ::fcntl(fd.get(), F_SETLEASE, F_UNLCK);
  return false;
}

Result<Leftovers> remove_leftovers(const fs::path& store) {
  Leftovers removed;
  std::error_code error;
  for (fs::directory_iterator at(store, error), end; !error && at != end; at.increment(error)) {
    const auto& path = at->path();
    const std::string name = path.filename().string();
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) continue;
    if (name.starts_with(kStagingPrefix) && S_ISDIR(st.st_mode)) LB_TRY(remove_staging(path, removed));
    if (name.starts_with(kPrefix) && S_ISREG(st.st_mode)) LB_TRY(remove_file(path, removed));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(error.value(), "cannot read ", store.string(), ": ", error.message());
  return removed;
}

}  // namespace layerboot::launcher
