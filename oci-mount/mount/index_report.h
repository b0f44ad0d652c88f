// `oci-mount index`: builds what indexes are missing, and says what they cost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/store/image.h"

namespace layerboot::mount {

struct LayerReport {
  std::string layer;               // its digest
  std::string compression;         // "gzip"
  std::uint64_t blob_bytes = 0;    // as stored
  std::uint64_t stream_bytes = 0;  // uncompressed
  std::uint64_t index_bytes = 0;
  std::uint64_t recut_bytes = 0;  // of a layer that is cut anew: the file it is read from; else 0
  std::optional<double> seconds;  // of building; none when the index was there
};

struct IndexReport {
  std::vector<LayerReport> layers;  // lowest first
  std::uint64_t tree_bytes = 0;
  std::uint64_t nodes = 0;
};

/// Opens each layer, which indexes and checks those without an index, and the tree.
Result<IndexReport> build_indexes(const store::Image& image, const layer::OpenOptions& options);

/// A line a layer and a sum, in columns; or one JSON document.
std::string report_text(const IndexReport& report);
std::string report_json(const IndexReport& report);

}  // namespace layerboot::mount
