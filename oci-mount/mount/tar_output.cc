#include "oci-mount/mount/tar_output.h"

#include <sys/uio.h>

#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::mount {

std::size_t TarOutput::padding(std::uint64_t size_bytes) { return store::tar_padding(size_bytes); }

Result<std::size_t> read_lower(const overlay::Lower& lower, Reactor& reactor, tree::NodeId id,
                               std::uint64_t offset, std::span<std::byte> into) {
  const iovec slice{into.data(), into.size()};
  return reactor.block_on(lower.read(reactor, id, offset, std::span(&slice, 1)));
}

bool fits_tar(std::string_view path, std::string_view xattr_name) {
  if (xattr_name.find('=') == std::string_view::npos) return true;
  log_warn(printable(path), ": extended attribute ", printable(xattr_name),
           ", which a tar can't hold, is left out");
  return false;
}

}  // namespace layerboot::mount
