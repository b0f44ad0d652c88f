// Platform: what an image says it runs on, and whether that is this machine.
//
// Follows the OCI image spec v1.1 (image-index.md, "platform") and containerd's platforms package, which has
// the other names that writers use.
#pragma once

#include <string>
#include <string_view>

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

/// How well something for `platform` (normalized) runs on linux on `architecture`; what a platform leaves
/// open fits.
enum class Fit { kNot, kCompatible, kYes };
/// amd64 runs 386 too. A variant of amd64 fits where this machine's processor has it.
[[nodiscard]] Fit fit_of(const Platform& platform, std::string_view architecture);

/// The architecture images are chosen for, in OCI's words (amd64, arm64): the host's.
[[nodiscard]] std::string_view host_architecture();

}  // namespace layerboot::store
