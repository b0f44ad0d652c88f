// walk_tree(): everything in a tree that strangers made.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <functional>

#include "oci-mount/base/result.h"

namespace layerboot {

/// Gives the stat(2) of everything below the directory `top`, not of itself, to `take`; ENOENT where that is
/// not there. Any depth takes two descriptors, no path longer than one name, and no recursion; memory for the
/// names of the directories beside those on the way down. Follows no symlink; a directory where another file
/// system is mounted is given, as that has it, and not entered.
///
/// What can't be listed goes to `on_error` with its errno, and the walk goes on. ESTALE, at once, where
/// directories are moved meanwhile.
Result<void> walk_tree(const std::filesystem::path& top, const std::function<void(const struct stat&)>& take,
                       const std::function<void(int)>& on_error);

}  // namespace layerboot
