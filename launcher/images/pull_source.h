// From where an image is taken into the local store: a registry, Docker's or Podman's images on this machine,
// or files in one of the forms that skopeo reads.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "launcher/images/image_name.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct PullSource {
  /// As skopeo writes it; a file's path is absolute.
  std::string text;
  /// A registry's image: what it is called there. Else none.
  std::optional<ImageName> registry_name;
  /// What the image is to be called in the store.
  std::string stored_name;
};

/// `text` is a registry's image (image_name.h), `docker-daemon:NAME`, `containers-storage:NAME`, or one of
/// `dir:` (a skopeo copy), `oci:`, `oci-archive:`, `docker-archive:`, which have no name of a registry: for
/// them `name` says what the image is called then. For the others it may be "". EINVAL.
Result<PullSource> parse_pull_source(std::string_view text, std::string_view name);

/// Whether `text` begins with the notation of another engine's images on this machine, which are taken into
/// the store before they are used.
[[nodiscard]] bool is_other_engines(std::string_view text);

}  // namespace layerboot::launcher
