// The digest of a blob that came without one, computed once for each file.
#pragma once

#include <filesystem>

#include "oci-mount/base/result.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"

namespace layerboot::store {

/// sha256 of the whole blob. Kept in `cache`, a directory (made if it is not there), under the file's device,
/// inode, size and modification time and the blob's place in it; where nothing can be kept it is computed
/// each time.
Result<Digest> digest_of_blob(const FileBlob& blob, const std::filesystem::path& cache);

}  // namespace layerboot::store
