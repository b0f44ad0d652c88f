// `oci-mount verify`: is every byte of an image, and of what is kept of it, still what it was?
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/image.h"

namespace layerboot::mount {

struct LayerVerdict {
  std::string layer;                  // its digest, or dir:PATH
  std::uint64_t stream_bytes = 0;     // uncompressed; 0 when it could not be found out
  std::uint32_t spans = 0;            // decoded one by one and compared with their hashes
  std::vector<std::string> findings;  // what is wrong, a line each; empty: nothing is
};

/// Reads every blob again: its size, its digest and its DiffID; the kept index against one built anew, byte
/// for byte; each span of the kept index, decoded from its checkpoint, against its hash, which tells the
/// range of bytes at fault. Of a directory, which has no digests, each file is read. Manifest and config were
/// checked when the image was opened. Writes only into `scratch_dir`, which is empty and the caller's to
/// remove. An error is one of the means; what is wrong with the layer is in the verdict.
Result<LayerVerdict> verify_layer(const store::ImageLayer& layer, const std::filesystem::path& index_dir,
                                  const std::filesystem::path& scratch_dir, bool show_progress,
                                  IoEngine engine);

/// The tree kept in `index_dir` against one merged anew. REQUIRES: verify_layer() found nothing, with the
/// same `scratch_dir`. Gives what is wrong, or "".
Result<std::string> verify_tree(const store::Image& image, const std::filesystem::path& index_dir,
                                const std::filesystem::path& scratch_dir);

}  // namespace layerboot::mount
