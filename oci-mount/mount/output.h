// Writing to standard output.
#pragma once

#include <cstddef>
#include <span>

#include "oci-mount/base/result.h"

namespace layerboot::mount {

/// All of it. EPIPE when nobody reads any more.
Result<void> write_out(int fd, std::span<const std::byte> bytes);

}  // namespace layerboot::mount
