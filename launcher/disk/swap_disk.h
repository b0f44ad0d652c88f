// The disk that a guest swaps to.
#pragma once

#include <cstdint>
#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Makes `path` anew: a sparse file of `size_bytes`, in whole pages of 4 KiB, that the guest's kernel takes
/// for swap space of version 1 (union swap_header in Linux's include/linux/swap.h). ENOSPC where its file
/// system has less room: a page that can't be written is lost, and with it the program that it belongs to.
/// REQUIRES: `size_bytes` of at least ten pages and at most 16 TiB.
Result<void> make_swap_disk(const std::filesystem::path& path, std::uint64_t size_bytes);

}  // namespace layerboot::launcher
