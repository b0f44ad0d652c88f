// Media types of an OCI image's documents. Source: the OCI image spec, media-types.md.
#pragma once

namespace layerboot::store {

inline constexpr const char* kOciManifestType = "application/vnd.oci.image.manifest.v1+json";
inline constexpr const char* kOciConfigType = "application/vnd.oci.image.config.v1+json";

}  // namespace layerboot::store
