// A directory on this machine as a layer.
#pragma once

#include <filesystem>
#include <memory>

#include "oci-mount/layer/layer.h"

namespace layerboot::layer {

/// Walks the directory, each time, and keeps what it found as an index that is named by its hash: an
/// unchanged directory finds its index and its tree again. Its files are read in place; what changes on the
/// host afterwards is not seen, and a file that changes gives EIO.
Result<std::shared_ptr<const Layer>> open_directory_layer(const std::filesystem::path& directory,
                                                          const OpenOptions& options);

}  // namespace layerboot::layer
