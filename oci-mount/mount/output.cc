#include "oci-mount/mount/output.h"

#include "oci-mount/base/files.h"

namespace layerboot::mount {

Result<void> write_out(int fd, std::span<const std::byte> bytes) {
  auto put = write_next(fd, bytes);
  return put ? put : while_doing(put.error(), "cannot write the output");
}

}  // namespace layerboot::mount
