// Image: an image found and its documents checked; its layers in order, not yet opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

struct ImageLayer {
  std::string media_type;
  Compression compression = Compression::kNone;
  Digest blob;                   // of the bytes as stored
  std::uint64_t size_bytes = 0;  // of the bytes as stored
  Digest diff_id;                // of the uncompressed tar
  std::filesystem::path path;
};

struct Image {
  std::string reference;  // as typed
  Digest manifest_digest;
  ImageConfig config;
  std::vector<ImageLayer> layers;  // lowest first
  /// The ChainID of the whole (OCI image spec, config.md "Layer ChainID"); the zero digest when there is no
  /// layer.
  Digest chain_id;
};

/// The architecture images are chosen for, in OCI's words (amd64, arm64): the host's.
[[nodiscard]] std::string_view host_architecture();

/// Finds `reference` (see reference.h), chooses linux on `host_architecture()`, and checks manifest and
/// config against their digests. Blobs are not read here: their digests are checked when they are indexed. An
/// error names the reference and what to do, with the tags that exist where the tag does not.
Result<Image> open_image(std::string_view reference, const StateDirs& dirs);

/// Exposed for its test: the ChainID of layers with these DiffIDs, lowest first.
Result<Digest> chain_id_of(const std::vector<Digest>& diff_ids);

}  // namespace layerboot::store
