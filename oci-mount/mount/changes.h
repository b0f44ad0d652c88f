// `oci-mount diff`: what a VM changed, read out of its upper directory.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::mount {

enum class Change : char { kAdded = 'A', kChanged = 'C', kDeleted = 'D' };

/// Takes one change; its error ends the walk.
using TakeChange = std::function<Result<void>(Change change, std::string_view path)>;

/// Compares the image with the image under `upper` (what vfsd's --upper names), in the order of names, a
/// directory before what is in it. As `docker diff`: a directory that only holds changes is changed itself;
/// of what was deleted or replaced by something of another kind, only the top is told; a renamed directory is
/// deleted at its old place and added, with everything in it, at the new. Reads the upper and changes
/// nothing, so it may be in use: then the answer is of about now. `image_identity` is Image::chain_id's text;
/// EINVAL where the upper is of another image.
Result<void> list_changes(const tree::Tree& tree, std::string_view image_identity,
                          const std::filesystem::path& upper, const TakeChange& take);

}  // namespace layerboot::mount
