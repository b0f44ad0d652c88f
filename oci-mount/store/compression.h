// How bytes are compressed, told by what they begin with.
#pragma once

#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

/// gzip, zstd (also where it begins with a skippable frame), xz, bzip2, or none of them: then it is taken for
/// a plain tar. A media type is only a hint, and often wrong. ENOTSUP for others that are
/// known (lzip, lzma, lz4, zip, compress); the error says so, and what to do. Pure.
Result<Compression> compression_of(std::string_view first_bytes);

/// Of a blob's.
Result<Compression> compression_of(const Blob& blob);

/// What compression_of() needs at most.
inline constexpr std::size_t kMagicBytes = 10;

}  // namespace layerboot::store
