#include "vfsd/daemon/serve_image.h"

#include "oci-mount/vfs/image_fs.h"

namespace layerboot::vfsd {

Result<ServedImage> serve_image(const Options& options) {
  vfs::ImageSourceOptions source_options;
  LB_ASSIGN(source_options.dirs, StateDirs::from_environment());
  source_options.index_dir = options.index_dir;
  source_options.add_layers = options.add_layers;
  source_options.cache_bytes = options.cache_bytes;
  source_options.show_progress = !options.quiet;
  ServedImage served;
  LB_ASSIGN(served.source, vfs::open_image_source(options.image, source_options));
  if (options.read_only) {
    LB_ASSIGN(served.file_system, vfs::make_read_only_fs(*served.source));
    return served;
  }
  vfs::UpperOptions upper;
  upper.directory = options.upper;
  upper.quota_bytes = options.quota_bytes;
  upper.quota_inodes = options.quota_inodes;
  if (options.host_floor_bytes) upper.host_floor_bytes = *options.host_floor_bytes;
  LB_ASSIGN(auto writable, vfs::make_writable_fs(*served.source, upper));
  served.quota = &writable->quota();
  served.file_system = std::move(writable);
  return served;
}

}  // namespace layerboot::vfsd
