#include "oci-mount/overlay/file_system.h"

namespace layerboot::overlay {

Result<Entry> FileSystem::tmpfile(NodeId, std::uint32_t, Caller) { return fail(EOPNOTSUPP); }

Task<Result<std::size_t>> FileSystem::copy_file_range(Reactor&, NodeId, std::uint64_t, NodeId, std::uint64_t,
                                                      std::uint64_t) {
  co_return fail(EOPNOTSUPP);
}

}  // namespace layerboot::overlay
