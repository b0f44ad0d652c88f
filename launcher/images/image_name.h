// The names of images in registries, as Docker writes and completes them. Pure.
//
// Follows the distribution project's reference grammar (reference/regexp.go).
#pragma once

#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct ImageName {
  std::string repository;  // with its registry: "docker.io/library/debian"
  std::string tag;         // "12"; empty where there is a digest
  std::string digest;      // "sha256:…", or empty

  /// What the store calls it: "docker.io/library/debian:12", "docker.io/library/debian@sha256:…".
  [[nodiscard]] std::string text() const;
  /// "docker.io", "localhost:5000".
  [[nodiscard]] std::string registry() const;
};

/// "debian:12" gives docker.io/library/debian and 12; no tag means "latest". "docker://" before it is taken
/// too, and "@DIGEST" behind it, for which a tag before that does not count. EINVAL for what is no image name
/// of a registry, with what is wrong in it.
Result<ImageName> parse_image_name(std::string_view text);

/// The same of a name that an image is to get, as the store writes it: EINVAL where it has a digest.
Result<std::string> name_to_give(std::string_view text);

/// As people write it: "docker.io/library/debian" gives "debian", "docker.io/team/app" gives "team/app".
[[nodiscard]] std::string_view familiar_name(std::string_view name);

/// An image's name in the store cut into repository and tag (or digest), for lists; both are whatever the
/// tool that put it there wrote.
struct SplitName {
  std::string_view repository;
  std::string_view tag;     // "" where there is none
  std::string_view digest;  // "" where there is none
};
[[nodiscard]] SplitName split_name(std::string_view name);

}  // namespace layerboot::launcher
