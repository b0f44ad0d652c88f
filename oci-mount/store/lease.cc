#include "oci-mount/store/lease.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "oci-mount/base/files.h"

namespace layerboot::store {

Result<Lease> take_lease(const std::filesystem::path& document) {
  LB_ASSIGN(UniqueFd fd, open_path(document, O_RDONLY));
  while (::flock(fd.get(), LOCK_SH) != 0) {
    if (errno == EOPNOTSUPP || errno == ENOLCK || errno == ENOSYS) return Lease();
    if (errno != EINTR) return errno_error("cannot lock ", document.string());
  }
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return errno_error("fstat of ", document.string());
  if (st.st_nlink == 0) return fail(ENOENT, document.string(), " was removed meanwhile");
  return std::make_shared<const UniqueFd>(std::move(fd));
}

Result<bool> is_leased(const std::filesystem::path& document) {
  const auto fd = open_path(document, O_RDONLY);
  if (!fd && fd.error().code == ENOENT) return false;
  if (!fd) return std::unexpected(fd.error());
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) == 0) return false;
  if (errno == EWOULDBLOCK) return true;
  if (errno == EOPNOTSUPP || errno == ENOLCK || errno == ENOSYS) return false;
  return errno_error("cannot lock ", document.string());
}

}  // namespace layerboot::store
