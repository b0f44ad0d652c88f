// Paths inside an image, walked as a process whose root it is would walk them.
#pragma once

#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::mount {

/// What to do with a symlink that is the path's last part. One with a slash behind it is always followed.
enum class LastSymlink { kFollow, kKeep };

/// The node at `path`, whether or not it begins with '/'. No symlink and no ".." leads out of the tree. As
/// path_resolution(7): ENOENT, ENOTDIR, and ELOOP after 40 symlinks. The error names `path`.
Result<tree::NodeId> resolve(const tree::Tree& tree, std::string_view path, LastSymlink last);

}  // namespace layerboot::mount
