// `oci-mount cat`: the bytes of files in an image.
#pragma once

#include <string>
#include <string_view>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/lower.h"

namespace layerboot::mount {

/// Writes the file at `path` (symlinks followed inside the image) to `out_fd`, to its last byte. EISDIR, or
/// EINVAL for what has no bytes of its own. The error names `path`; EPIPE when nobody reads any more.
Result<void> cat(const overlay::Lower& lower, Reactor& reactor, std::string_view path, int out_fd);

}  // namespace layerboot::mount
