// What somebody meant who wrote a path or a URL where an image belongs: found by looking at what is there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// What the image is wanted for: pulling takes other notations than what reads images, and a NAME.
enum class Wanted : std::uint8_t { kToRead, kToPull };

/// An error that names the notation that was meant, for a path (`./rootfs`, `x.tar`) or a URL; no error for
/// what may be a reference. Whether it is one is not checked.
Result<void> check_notation(std::string_view text, Wanted wanted = Wanted::kToRead);

/// Those of `known`, names of images, that `typed` is nearly: another tag of the same image, or a slip of the
/// hand or two away. Nearest first, at most kMaxNearNames, as people write them. Pure.
std::vector<std::string> near_names(std::string_view typed, const std::vector<std::string>& known);
inline constexpr std::size_t kMaxNearNames = 5;

}  // namespace layerboot::launcher
