#include "oci-mount/vfs/image_fs.h"

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/vfs/read_only_fs.h"

namespace layerboot::vfs {

namespace {

/// The identity that an upper belongs to says what is in the image's own layers, but not what is in a
/// directory, and nothing of added layers.
std::uint32_t fixed_layers(const ImageSource& source) {
  const auto& own = source.image.layers;
  const auto directory = std::ranges::find_if(own, [](const auto& layer) { return layer.is_directory; });
  if (directory == own.end() && source.layers.size() == own.size()) return overlay::Lower::kAllLayers;
  return static_cast<std::uint32_t>(directory - own.begin());
}

}  // namespace

Result<std::unique_ptr<FileSystem>> make_read_only_fs(ImageSource& source) {
  return std::make_unique<ReadOnlyFs>(overlay::Lower{*source.tree, source.reader});
}

Result<std::unique_ptr<overlay::Overlay>> make_writable_fs(ImageSource& source, const UpperOptions& options) {
  const std::uint64_t inodes =
      options.quota_inodes != 0 ? options.quota_inodes : options.quota_bytes / UpperOptions::kBytesPerInode;
  const std::string lower_key = layer::layers_key(source.layers);
  LB_ASSIGN(const auto lower_digest, store::digest_of(store::HashAlgorithm::kSha256, as_bytes(lower_key)));
  return overlay::Overlay::open(
      {*source.tree, source.reader, fixed_layers(source)},
      {.directory = options.directory,
       .image_identity = source.image.chain_id.text(),
       .limits = {.bytes = options.quota_bytes,
                  .inodes = inodes,
                  .host_floor_bytes = options.host_floor_bytes},
       .keeping = options.record_owners ? overlay::Keeping::kRecorded : overlay::Keeping::kNative,
       .lower_key = lower_digest.text()},
      source.workers, source.memory);
}

}  // namespace layerboot::vfs
