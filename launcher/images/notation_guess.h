// What somebody meant who wrote a path or a URL where an image belongs: found by looking at what is there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// An error that names the notation that was meant, for a path (`./rootfs`, `x.tar`) or a URL; no error for
/// what may be a reference. Whether it is one is not checked.
Result<void> check_notation(std::string_view text);

/// Those of `known`, names of images, that `typed` is nearly: another tag of the same image, or a slip of the
/// hand or two away. Nearest first, at most kMaxNearNames, as people write them. Pure.
std::vector<std::string> near_names(std::string_view typed, const std::vector<std::string>& known);
inline constexpr std::size_t kMaxNearNames = 5;

}  // namespace layerboot::launcher
