// A lease keeps an image: who removes images and blobs asks for leases first.
#pragma once

#include <filesystem>
#include <memory>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::store {

/// Held as long as the descriptor is open, and given up with the process, however it ends: a shared flock(2)
/// on the image's manifest. Null where the file system has no locks.
using Lease = std::shared_ptr<const UniqueFd>;

/// ENOENT when the file is gone, also when it went while the lease was taken.
Result<Lease> take_lease(const std::filesystem::path& document);

/// Whether anybody holds a lease on the file. A file that is not there is not leased.
Result<bool> is_leased(const std::filesystem::path& document);

}  // namespace layerboot::store
