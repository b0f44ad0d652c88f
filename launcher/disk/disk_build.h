// Disks: ext4 images of container images, made without root and without unpacking anything to the host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

inline constexpr std::string_view kRootDiskLabel = "layerboot-root";
inline constexpr std::string_view kModulesDiskLabel = "layerboot-mods";

/// Where kept disks are.
inline std::filesystem::path disks_directory(const StateDirs& dirs) { return dirs.data / "disks"; }

struct DiskPlan {
  std::filesystem::path oci_mount;  // the program
  std::string image;
  store::Platform platform = store::host_platform();  // which of an image for several
  std::vector<std::filesystem::path> added_layers;    // plain tars, on top
  std::uint64_t size_bytes = 0;                       // 0: as small as the content allows
  std::string_view label = kRootDiskLabel;
  std::string what;  // for messages: "disk of debian:12"
  bool show_progress = true;
};

/// Makes the sparse raw disk `out`, which must not exist: one ext4 file system over the whole of it, with
/// every owner, mode, time, xattr, hard link and device node of the flattened image. `work` is an empty
/// directory to mount the image on. ENOSPC with the size needed when it does not fit, before anything is
/// written. EINTR when interrupted. REQUIRES: the main thread, inside an InterruptScope.
Result<void> build_disk(const DiskPlan& plan, const std::filesystem::path& work,
                        const std::filesystem::path& out);

/// Where the base disk of an image is or will be: under `data`/disks, named by what it holds (ChainID) and
/// its size. EINVAL for a directory, whose content has no name.
Result<std::filesystem::path> base_disk_path(const StateDirs& dirs, const DiskPlan& plan);
/// The identity (Image::chain_id) of the image that such a path is of.
Result<store::Digest> image_below_disk(const std::filesystem::path& base);

/// The base disk of an image, made once and kept: VMs put their own writes on top of it, so it never changes.
/// REQUIRES: the main thread.
Result<std::filesystem::path> base_disk(const StateDirs& dirs, const DiskPlan& plan);

/// The disk with a kernel's modules, made once per content of `modules_tar`, for VMs whose root is a disk.
/// REQUIRES: the main thread.
Result<std::filesystem::path> modules_disk(const StateDirs& dirs, const std::filesystem::path& oci_mount,
                                           const std::filesystem::path& modules_tar,
                                           const std::string& release);

/// A copy of the raw disk `base` at `copy`, its holes kept, by reflink where the file system can; unless it
/// is there already.
Result<void> copy_disk(const std::filesystem::path& base, const std::filesystem::path& copy);

/// A qcow2 at `overlay` whose unwritten parts are those of `base`, a raw disk; unless it is there already.
Result<void> make_overlay(const std::filesystem::path& base, const std::filesystem::path& overlay);

}  // namespace layerboot::launcher
