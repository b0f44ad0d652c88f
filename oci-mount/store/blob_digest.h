// What a blob that came without a digest is known by, and its digest, computed once for each file.
#pragma once

#include <filesystem>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"

namespace layerboot::store {

/// What a blob on this machine is told by, without reading it: a hash of its file's device, inode, size and
/// modification time, and of its place in it. Fit for a file name.
Result<std::string> local_key(const FileBlob& blob);

/// sha256 of the whole blob. Kept in `cache`, a directory (made if it is not there), under its local_key();
/// where nothing can be kept it is computed each time.
Result<Digest> digest_of_blob(const FileBlob& blob, const std::filesystem::path& cache);

}  // namespace layerboot::store
