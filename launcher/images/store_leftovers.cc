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

/// Names of containers/image's temporary files (oci/layout/oci_dest.go).
constexpr std::string_view kPrefix = "oci-put-blob";

/// The kernel grants a lease for writing on a file that is open nowhere else only.
Result<bool> is_open_elsewhere(const std::filesystem::path& path) {
  LB_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NOFOLLOW));
  if (::fcntl(fd.get(), F_SETLEASE, F_WRLCK) != 0) return true;
  ::fcntl(fd.get(), F_SETLEASE, F_UNLCK);
  return false;
}

}  // namespace

Result<Leftovers> remove_leftovers(const std::filesystem::path& store) {
  Leftovers removed;
  std::error_code error;
  for (std::filesystem::directory_iterator at(store, error), end; !error && at != end; at.increment(error)) {
    const auto& path = at->path();
    struct stat st{};
    if (!path.filename().string().starts_with(kPrefix)) continue;
    if (::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    LB_ASSIGN(const bool busy, is_open_elsewhere(path));
    if (busy) continue;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove ", path.string());
    removed.freed_bytes += allocated_bytes(st);
    ++removed.files;
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(error.value(), "cannot read ", store.string(), ": ", error.message());
  return removed;
}

}  // namespace layerboot::launcher
