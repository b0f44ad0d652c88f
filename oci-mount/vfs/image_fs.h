// ImageFs: the file system of one image, read-only or with an upper directory on top.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "oci-mount/overlay/overlay.h"
#include "oci-mount/vfs/image_source.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::vfs {

/// What a writable ImageFs needs to know.
struct UpperOptions {
  std::filesystem::path directory;
  std::uint64_t quota_bytes = 0;
  std::uint64_t quota_inodes = 0;  // 0: one for each kBytesPerInode of the quota
  std::uint64_t host_floor_bytes = kDefaultHostFloorBytes;
  bool record_owners = false;  // a new upper is kept as an ordinary user's always is (overlay/FORMAT.md)

  static constexpr std::uint64_t kBytesPerInode = 16 * 1024;  // as mke2fs
  static constexpr std::uint64_t kDefaultHostFloorBytes = 64 << 20;
};

/// Read-only, every change is EROFS. Thread-safe. The source outlives it.
Result<std::unique_ptr<FileSystem>> make_read_only_fs(ImageSource& source);

/// Changes go to the upper directory; an error where that is another image's, or in use. The
/// source outlives it.
Result<std::unique_ptr<overlay::Overlay>> make_writable_fs(ImageSource& source, const UpperOptions& options);

}  // namespace layerboot::vfs
