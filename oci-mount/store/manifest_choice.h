// Which of an index's manifests is the image for a platform.
//
// Follows the OCI image spec v1.1, image-index.md: the first that matches. Where several fit in different
// ways, as containerd and skopeo have it: what names this platform goes before what names none, and that
// before 386 on amd64; the variant that is wanted before the next lower one, and that before a higher one.
#pragma once

#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/store/content.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

/// Indexes within indexes: more nesting is no image anybody makes.
inline constexpr int kMaxIndexNesting = 8;
/// Documents read to find one image.
inline constexpr int kMaxDocumentsRead = 64;

/// Follows nested indexes down to one manifest; attestations are passed over, what an entry calls an artifact
/// is looked at last, and taken where its config is an image's, and of manifests that do not say for what
/// they are, that of a config which does is taken. `what` begins errors ("image
/// \"debian:12\""): ENOTSUP, with the platforms there are, when there is nothing for `wanted`; EINVAL past
/// the limits above.
Result<ManifestDescriptor> choose_manifest(const Content& content,
                                           const std::vector<ManifestDescriptor>& candidates,
                                           const Platform& wanted, std::string_view what);

/// The first image whose manifest is there, whatever it is for: to be looked at, not to be run.
Result<ManifestDescriptor> choose_any_manifest(const Content& content,
                                               const std::vector<ManifestDescriptor>& candidates,
                                               std::string_view what);

}  // namespace layerboot::store
