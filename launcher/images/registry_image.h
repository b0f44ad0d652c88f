// What a registry has under a name, looked at before anything is fetched.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "launcher/images/image_name.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

struct RegistryImage {
  std::string source;  // exactly what was looked at, as skopeo writes it: "docker://NAME@sha256:…"
  std::string
      digest;  // what the registry has under the name: of the manifest, or of the index it was chosen from
  /// None of a manifest of the oldest kind (schema 1), which skopeo converts when it fetches it.
  std::optional<store::ManifestDocument> manifest;
  /// What its index says that it is for, where its config says something else.
  std::optional<store::Platform> said_platform = {};
};

/// Asks the registry for the image for `platform`, which is chosen as open_image() does it
/// (manifest_choice.h). ENOTSUP when it has nothing for that; EINVAL or ENOTSUP for what could not be served:
/// an artifact, a layer of an unknown type.
Result<RegistryImage> look_up_in_registry(const ImageName& name, const store::Platform& platform,
                                          const std::filesystem::path& store, bool tls_verify);

}  // namespace layerboot::launcher
