// NewImage: an image that is being put together in the local store, blob by blob.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

/// Blobs that it has added go again with it, unless finish() was called.
class NewImage {
 public:
  /// REQUIRES: the store's lock is held for its life.
  explicit NewImage(std::filesystem::path store) : store_(std::move(store)) {}
  ~NewImage();
  NewImage(const NewImage&) = delete;
  NewImage& operator=(const NewImage&) = delete;

  /// A layer of an image that is anywhere; copied where the store does not have it. EBADMSG where its bytes
  /// are not what they are called.
  Result<void> add_layer(const store::ImageLayer& layer);
  /// The file, on the store's file system and durable, is moved there. `descriptor` has its digest, size and
  /// media type.
  Result<void> add_layer_file(const std::filesystem::path& file, store::Json descriptor);
  /// With this config, whose diff_ids are those of the layers. Gives the image's digest.
  Result<std::string> finish(const store::Json& config, const std::string& name);

 private:
  /// Gives its descriptor.
  Result<store::Json> add_document(const store::Json& document, const char* media_type);

  std::filesystem::path store_;
  store::Json layers_ = store::Json::array();
  std::vector<std::filesystem::path> added_;
};

}  // namespace layerboot::launcher
