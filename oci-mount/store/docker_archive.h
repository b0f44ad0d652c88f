// What `docker save` writes: a tar with a manifest.json.
//
// Follows Docker's image specification v1.2 ("Combined Image JSON + Filesystem Changeset Format"). The layers
// are plain tars as a rule, `ID/layer.tar` (also a link to another one) or, since Docker 25, in an OCI
// layout's blobs; other tools put compressed ones there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/reference.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::store {

/// Of a message that says what an image could have been called.
inline constexpr std::size_t kMaxTagsListed = 20;

/// One image of manifest.json.
struct DockerImage {
  std::string config;  // names of the archive's files
  std::vector<std::string> layers;
  std::vector<std::string> tags;
};

/// Pure. Errors are EINVAL and begin with `what`.
Result<std::vector<DockerImage>> parse_docker_manifest(std::string_view text, std::string_view what);

/// What its manifest.json lists. ENOENT, with what to do, where it has none.
Result<std::vector<DockerImage>> read_docker_manifest(const OpenedArchive& opened,
                                                      const Reference& reference);

/// The image of that archive which `reference` names, or the only one. A plain layer goes by its DiffID,
/// which is checked when it is indexed; a compressed one, which has no digest there, is hashed here once: the
/// digest is kept in `digest_cache`.
Result<Image> open_docker_archive(const OpenedArchive& opened, const Reference& reference,
                                  const ImageOptions& options, const std::filesystem::path& digest_cache);

}  // namespace layerboot::store
