// Writing to standard output: exact bytes, and names that may hold anything.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::mount {

/// write(2) until all is written. EPIPE when nobody reads any more.
Result<void> write_out(int fd, std::span<const std::byte> bytes);

/// A name with what a terminal would act on (control bytes) written as \ooo, and the backslash doubled.
std::string printable(std::string_view name);

}  // namespace layerboot::mount
