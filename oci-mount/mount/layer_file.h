// A VM's layer as it is to go into an image: compressed, hashed, and with its index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "oci-mount/mount/layer_tar.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::mount {

/// What was written.
struct WrittenLayer {
  store::Digest blob;     // of the bytes as stored
  store::Digest diff_id;  // of the tar
  std::uint64_t size_bytes = 0;
  std::uint64_t tar_bytes = 0;
  store::Compression compression = store::Compression::kNone;

  /// As the image specification calls it (layer.md).
  [[nodiscard]] std::string media_type() const;
  /// For programs: "digest", "diff_id", "size", "tar_size" and "mediaType".
  [[nodiscard]] std::string json() const;
};

/// Writes it to `put`, compressed by as many threads as there are processors, each of whose pieces can be
/// read by itself (layer/span_compressor.h).
Result<WrittenLayer> write_compressed_layer(const overlay::Lower& lower, Reactor& reactor,
                                            const SeenUpper& upper, const LayerOptions& options,
                                            store::Compression compression, const PutBytes& put);

/// The same into a file, which appears whole or not at all, with its index in `index_dir`; for that the file
/// is read again, and so known to be right.
Result<WrittenLayer> write_layer_file(const overlay::Lower& lower, Reactor& reactor, const SeenUpper& upper,
                                      const LayerOptions& options, store::Compression compression,
                                      const std::filesystem::path& path,
                                      const std::filesystem::path& index_dir);

/// SOURCE_DATE_EPOCH of the environment (reproducible-builds.org); nothing where it is not set, EINVAL where
/// it is no time.
Result<std::optional<std::int64_t>> source_date_epoch();

}  // namespace layerboot::mount
