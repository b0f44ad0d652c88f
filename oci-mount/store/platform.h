// Platform: what an image says it runs on, and whether that is what is wanted.
//
// Follows the OCI image spec v1.1 (image-index.md, "platform") and containerd's platforms package, which has
// the other names that writers use.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::store {

/// In Go's words (linux, amd64) once it is normalized; "" where it is not said.
struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;

  friend bool operator==(const Platform&, const Platform&) = default;
};

/// Lower case; x86_64 is amd64, aarch64 arm64, i686 386, armhf arm/v7 and armel arm/v6, and the variant that
/// an architecture has anyway (amd64/v1, arm64/v8) is left out.
[[nodiscard]] Platform normalized(Platform platform);

/// "linux/arm/v7".
[[nodiscard]] std::string platform_text(const Platform& platform);

/// "linux/arm64", "linux/arm/v7", normalized; without a variant the one that an architecture has anyway is
/// meant, of arm v7. EINVAL for what is no platform.
Result<Platform> parse_platform(std::string_view text);

/// How well something for `platform` serves who asks for `wanted` (both normalized); what a platform leaves
/// open fits.
enum class Fit { kNot, kCompatible, kYes };
/// amd64 runs 386 too, and what is for a lower variant fits: v5 and v6 where arm/v7 is wanted. Where no
/// variant of amd64 was asked for, those fit that this machine's processor has.
[[nodiscard]] Fit fit_of(const Platform& platform, const Platform& wanted);
/// Which of those that fit is the best one: the least. 0 is for just what is wanted; then come lower
/// variants, the nearest first, and then higher ones.
[[nodiscard]] unsigned distance_of(const Platform& platform, const Platform& wanted);

/// What an image is for, of which an index says `said` and its config `has`: whoever chooses in an index goes
/// by its word, where it names system and architecture.
[[nodiscard]] const Platform& platform_of_image(const std::optional<Platform>& said, const Platform& has);

/// This machine's architecture in OCI's words (amd64, arm64).
[[nodiscard]] std::string_view host_architecture();

/// What images are chosen for where nobody says: linux on host_architecture().
[[nodiscard]] Platform host_platform();

}  // namespace layerboot::store
