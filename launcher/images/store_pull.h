// Fetching an image from a registry into the local store.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct PullOptions {
  std::string reference;   // "debian:12", "localhost:5000/app"; "docker://" before it is taken too
  bool tls_verify = true;  // false: plain http, or a certificate nobody signed, is taken
  bool show_progress = true;
};

/// The name a registry's image has in the store: "debian:12" gives "docker.io/library/debian:12", as skopeo
/// and Docker complete it. EINVAL for what is no image name of a registry.
Result<std::string> full_name(std::string_view reference);

/// Copies it with skopeo, which brings registries' protocols and credentials. A blob appears whole or not at
/// all, and index.json, which makes the image known, is written last and under the store's lock; so a pull
/// that is broken off leaves at most blobs, which the next one uses and gc removes, and, where it was killed,
/// part of one, which the next one removes. What is there is not fetched again. Gives the name in the store.
/// EINTR when interrupted.
Result<std::string> pull_image(const std::filesystem::path& store, const PullOptions& options);

}  // namespace layerboot::launcher
