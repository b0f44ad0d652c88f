#include "oci-mount/vfs/image_fs.h"

#include "oci-mount/vfs/read_only_fs.h"

namespace layerboot::vfs {

Result<std::unique_ptr<FileSystem>> make_read_only_fs(ImageSource& source) {
  return std::make_unique<ReadOnlyFs>(overlay::Lower{*source.tree, source.reader});
}

Result<std::unique_ptr<overlay::Overlay>> make_writable_fs(ImageSource& source, const UpperOptions& options) {
  const std::uint64_t inodes =
      options.quota_inodes != 0 ? options.quota_inodes : options.quota_bytes / UpperOptions::kBytesPerInode;
  return overlay::Overlay::open(
      {*source.tree, source.reader},
      {.directory = options.directory,
       .image_identity = source.image.chain_id.text(),
       .limits = {.bytes = options.quota_bytes,
                  .inodes = inodes,
                  .host_floor_bytes = options.host_floor_bytes},
       .keeping = options.record_owners ? overlay::Keeping::kRecorded : overlay::Keeping::kNative},
      source.workers);
}

}  // namespace layerboot::vfs
