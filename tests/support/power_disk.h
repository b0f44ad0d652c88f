// A disk in a file, whose power can be cut: a copy of the file as it is at one moment, while its file system
// is mounted and has much of its news in memory, is what such a disk would hold after the cut.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::test {

enum class DiskFs { kExt4, kXfs, kBtrfs };
std::string_view name_of(DiskFs type);

/// A new file system that commits nothing by itself for the length of a test. Needs its mkfs.
Result<void> make_disk(DiskFs type, const std::filesystem::path& file);

/// What the disk holds now; holes stay holes.
Result<void> copy_disk(const std::filesystem::path& from, const std::filesystem::path& to);

/// Equal for disks that hold the same.
Result<std::string> digest_of_disk(const std::filesystem::path& file);

/// A disk mounted, its journal replayed first; the destructor unmounts it. Needs root and a loop device.
class MountedDisk {
 public:
  static Result<MountedDisk> mount(DiskFs type, const std::filesystem::path& file,
                                   const std::filesystem::path& at);
  MountedDisk(MountedDisk&& other) noexcept;
  MountedDisk& operator=(MountedDisk&&) = delete;
  ~MountedDisk();

  /// Lets the file system commit what it knows, but not write back data of files that nobody has synced: as
  /// it may at any time.
  Result<void> commit();

 private:
  MountedDisk(DiskFs type, std::filesystem::path at) : type_(type), at_(std::move(at)) {}
  DiskFs type_;
  std::filesystem::path at_;
  unsigned commits_ = 0;
};

}  // namespace layerboot::test
