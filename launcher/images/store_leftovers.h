// What a broken-off pull leaves in the store: the directory it worked in, the blob that skopeo was writing.
#pragma once

#include <cstdint>
#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct Leftovers {
  std::size_t files = 0;
  std::uint64_t freed_bytes = 0;
};

/// Removes them. A file that a process has open is left: another tool may be writing to the store. REQUIRES:
/// the store's lock is held, so that it is no pull of ours.
Result<Leftovers> remove_leftovers(const std::filesystem::path& store);

}  // namespace layerboot::launcher
