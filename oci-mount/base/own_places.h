// What of our state is for its owner alone, though an earlier version made it for everybody.
#pragma once

#include <filesystem>
#include <vector>

#include "oci-mount/base/state_dirs.h"

namespace layerboot {

/// Directories that may tell of private images and VMs (store, VMs, volumes, disks, kernels of images,
/// indexes), are this user's, and can be entered by others of this host.
[[nodiscard]] std::vector<std::filesystem::path> places_open_to_others(const StateDirs& dirs);

/// Closes those of them that lie where nobody has chosen a place, and says so in one line. What is named by
/// XDG_DATA_HOME or XDG_CACHE_HOME, or lies behind a symlink, or is open to a group alone, may be shared on
/// purpose and is left as it is. What can't be closed is left, too.
void close_own_places(const StateDirs& dirs);

}  // namespace layerboot
