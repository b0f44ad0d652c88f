// Sizes as people write them on a command line.
#pragma once

#include <cstdint>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot {

inline constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

/// "4G", "512m", "1GiB", "4096": a whole number with an optional K, M, G or T (powers of 1024), itself with
/// an optional "B" or "iB", in any case, as docker and QEMU take them. EINVAL for anything else and for 0,
/// ERANGE past 2^63 - 1.
Result<std::uint64_t> parse_size(std::string_view text);

}  // namespace layerboot
