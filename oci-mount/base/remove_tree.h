// remove_tree_at(): rm -r of trees that strangers made.
#pragma once

#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot {

/// Removes whatever `name` in the directory `dir_fd` is, with all that is in it. Any depth takes two
/// descriptors, no path longer than one name, and no recursion; memory for a listing's piece (32 KiB) of each
/// directory on the way down. Takes time as there are objects, however they lie. Follows no symlink and
/// enters no other mount (EXDEV). A directory of ours that we may not list or change is made one that we may.
///
/// The error is the bare number: ENOENT where there is nothing, ESTALE where directories are moved meanwhile.
/// What was removed by then stays removed.
Result<void> remove_tree_at(int dir_fd, const char* name);
/// The same by a path, with an error that names it; no error where there is nothing.
Result<void> remove_tree(const std::filesystem::path& path);

}  // namespace layerboot
