// A compressed archive's bytes, unpacked into a file, in this process.
#pragma once

#include <cstdint>
#include <functional>

#include "oci-mount/base/result.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

/// Fills the empty file `fd`. `on_progress` is told how many bytes of the archive are done; its Error ends
/// it. EBADMSG for what is damaged, cut short or unpacks to no tar, E2BIG beyond kMaxUnpackedBytes, ENOSPC.
Result<void> unpack_stream(const FileBlob& archive, Compression compression, int fd,
                           const std::function<Result<void>(std::uint64_t)>& on_progress);

}  // namespace layerboot::store
