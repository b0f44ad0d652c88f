// Builds a layer's index in one pass over its blob.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/identity.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::layer {

/// What a blob is to be, by its image's manifest and config.
struct ExpectedLayer {
  LayerIdentity identity;
  store::Compression compression = store::Compression::kNone;  // what it is told to be: a hint
  struct Digests {
    store::Digest blob;
    std::uint64_t size_bytes = 0;
    store::Digest diff_id;
  };
  std::optional<Digests> digests;  // none for a local file, which is taken as it is
  std::string source;              // the local file's path
};

/// EBADMSG unless the blob has as many bytes as it is to have.
Result<void> check_size(const store::Blob& blob, const ExpectedLayer& expected);
/// EBADMSG: what is said of the layer `name` whose tar is another than the image's config has.
std::unexpected<Error> wrong_diff_id(const std::string& name, const store::Digest& found,
                                     const store::Digest& expected);

/// How it is compressed, the blob itself says. Reads the whole blob once (sha256 of its bytes, decoding,
/// sha256 of the tar, tar entries, checkpoints) and puts the index at `path`, whole or not at all; of a zstd
/// layer in large frames also the recut file beside it. `on_progress` gets the blob's bytes done so far.
/// Errors are one line that names the blob and the remedy: EBADMSG where the blob is not what it is to be
/// (cut short, changed), the codec's or the tar's own where it is, but can't be served. Uses a second thread
/// for the hashes.
Result<void> build_index(const store::Blob& blob, const ExpectedLayer& expected,
                         const std::filesystem::path& path,
                         const std::function<void(std::uint64_t)>& on_progress);

}  // namespace layerboot::layer
