// The disk of a guest that keeps what it writes by itself, and what kind of upper a VM has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/vm/vm_config.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

inline constexpr std::string_view kUpperDiskLabel = "layerboot-upper";
/// Below it ext4 has no room for a journal worth its name.
inline constexpr std::uint64_t kMinUpperDiskBytes = std::uint64_t{32} << 20;
/// As large as an ext4 of 4 KiB blocks can be.
inline constexpr std::uint64_t kMaxUpperDiskBytes = std::uint64_t{16} << 40;

/// The kind that a run has: `wanted`, or where nothing was asked for what the VM has had. EINVAL when what
/// the VM has written is of another kind, which an ephemeral run leaves alone.
Result<UpperKind> choose_upper(const VmPaths& paths, const VmRecord& record, std::optional<UpperKind> wanted,
                               bool ephemeral);

/// EINVAL when the VM has its root in the other way than a run with (or without) --disk-image would: one name
/// is one VM, and has one state. One that has both, of an earlier version, goes on having them.
Result<void> check_root_kind(const VmPaths& paths, const std::string& name, bool disk_root);

/// Whether the VM keeps something that a guest has written.
bool has_written(const VmPaths& paths);

/// The size of the VM's disk for an upper; 0 where it has none.
std::uint64_t upper_disk_bytes(const VmPaths& paths);
/// While the VM runs: of that and the one that only this run has (--ephemeral), the larger.
std::uint64_t live_upper_disk_bytes(const VmPaths& paths);

/// Makes the sparse disk `path` with an empty ext4 of `size_bytes` in it, unless it is there. One that is
/// smaller gets larger, and the guest's file system at its next boot; a larger one is EINVAL. REQUIRES: the
/// main thread.
Result<void> make_upper_disk(const std::filesystem::path& path, std::uint64_t size_bytes);

/// The disk of the VM `config`, whose image has this identity (Image::chain_id), named in config.upper_disk.
/// EINVAL when it belongs to another image. REQUIRES: the main thread.
Result<void> prepare_upper_disk(const VmDirectory& directory, std::string_view image_identity,
                                VmConfig& config);

/// Replays the journal that the VM's disk was left with, and repairs what its next boot would, so that the
/// disk can be read. REQUIRES: nobody runs the VM; the main thread.
Result<void> settle_upper_disk(const VmPaths& paths);

/// What the guest of `config` needs to lay over its image by itself, if it does: the disk, by
/// prepare_upper_disk(). REQUIRES: the main thread.
Result<void> prepare_guest_upper(const StateDirs& dirs, const VmDirectory& directory, VmConfig& config);

}  // namespace layerboot::launcher
