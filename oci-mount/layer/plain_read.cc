#include "oci-mount/layer/plain_read.h"

#include <limits.h>
#include <sys/types.h>

namespace layerboot::layer {

bool read_plain_now(int fd, std::uint64_t offset, std::span<const iovec> into, std::size_t wanted) {
  if (wanted == 0) return true;
  if (fd < 0 || into.size() > IOV_MAX) return false;
  const ssize_t got =
      ::preadv2(fd, into.data(), static_cast<int>(into.size()), static_cast<off_t>(offset), RWF_NOWAIT);
  return got >= 0 && static_cast<std::size_t>(got) == wanted;
}

}  // namespace layerboot::layer
