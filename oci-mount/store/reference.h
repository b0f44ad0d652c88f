// What a user types for IMAGE, taken apart. Pure; nothing is opened here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::store {

/// Where an image is to be found: an OCI layout, and what may be its name in it.
struct Reference {
  std::string text;              // as typed, for messages
  std::filesystem::path layout;  // the OCI layout's directory
  bool in_store = false;         // the layout is the local store, `names` are image names
  /// Values of org.opencontainers.image.ref.name to look for, best first. Empty: none was given, so
  /// the only image there is, else "latest".
  std::vector<std::string> names;
};

/// Takes `oci:DIR[:TAG]` (split at the first colon after DIR's begin, as skopeo does) and image names
/// (`debian:12`, `docker.io/library/debian:12`; no tag means `latest`), which are looked up in the local
/// store. ENOTSUP for the ecosystem's other notations, with what to use instead; EINVAL for what is none.
Result<Reference> parse_reference(std::string_view text, const StateDirs& dirs);

}  // namespace layerboot::store
