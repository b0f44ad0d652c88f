// An image of the local store that stays while another program takes it away.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/lease.h"

namespace layerboot::launcher {

/// One that is whole, and stays as long as this lives.
struct HeldImage {
  IndexEntry entry;
  store::Json descriptor;
  store::Lease lease;
};

/// ENOENT for one that is not there, or not whole; EINVAL where several are meant.
Result<HeldImage> hold_image(const StateDirs& dirs, const std::string& reference);

/// What write_layout_of() calls the image.
inline constexpr std::string_view kHeldName = "image";

/// A layout of that image alone, without its blobs, which are the store's: who reads it takes neither every
/// name nor a path with a ':' in it.
Result<void> write_layout_of(const std::filesystem::path& layout, const HeldImage& image);

}  // namespace layerboot::launcher
