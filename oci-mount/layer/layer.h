// Layer: one blob and its index, ready to be read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/layer_index.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/image.h"

namespace layerboot::layer {

/// Immutable and thread-safe.
class Layer {
 public:
  Layer(std::shared_ptr<const store::Blob> blob, LayerIdentity identity, LayerIndex index);

  [[nodiscard]] const store::Blob& blob() const { return *blob_; }
  [[nodiscard]] const LayerIndex& index() const { return index_; }
  [[nodiscard]] const LayerIdentity& identity() const { return identity_; }
  /// Unique in this process, never used again: the span cache's key.
  [[nodiscard]] std::uint64_t number() const { return number_; }

 private:
  std::shared_ptr<const store::Blob> blob_;
  LayerIdentity identity_;
  LayerIndex index_;
  std::uint64_t number_;
};

struct OpenOptions {
  std::filesystem::path index_dir;  // made if it is not there
  bool show_progress = false;       // of building, on standard error
  /// A directory is read through a clone of its mounts, read-only, that stays when the process leaves those
  /// of the host (vfsd's sandbox): without, what is mounted in it would be gone then. Takes CAP_SYS_ADMIN.
  bool clone_mounts = false;
  unsigned layers_at_once = 0;  // that open_layers() builds; 0: as the machine's processors have it
  /// Gets a blob's bytes done so far, instead of standard error.
  std::function<void(std::uint64_t)> on_progress = nullptr;
};

/// Opens a blob of an image with its index, building the index if there is none that fits: then the whole
/// blob is read and checked against its digest, its size and its DiffID. An error names the blob and the
/// remedy.
Result<std::shared_ptr<const Layer>> open_layer(const store::ImageLayer& layer, const OpenOptions& options);

/// The same for a plain tar on this machine that is no image's. It has no digest to be checked against.
Result<std::shared_ptr<const Layer>> open_layer(const std::filesystem::path& tar_file,
                                                const OpenOptions& options);

/// An image's layers, lowest first, several at once where they have to be indexed (at most 4), and
/// `add_layers` (plain tars) on top of them in their order. E2BIG when the image's unpack to more than
/// kMaxImageBytes together.
Result<std::vector<std::shared_ptr<const Layer>>> open_layers(
    const store::Image& image, std::span<const std::filesystem::path> add_layers, const OpenOptions& options);

/// What names exactly these layers in this order, as read by this version: the tree index's key.
std::string layers_key(std::span<const std::shared_ptr<const Layer>> layers);

}  // namespace layerboot::layer
