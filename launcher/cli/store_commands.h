// layerboot's commands about the local store: pull, images, rmi, gc.
#pragma once

#include <string>

#include "launcher/images/store_pull.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Prints the image's name in the store.
Result<void> pull(const StateDirs& dirs, const PullOptions& options);
/// Prints a line an image, or one JSON document.
Result<void> list_images(const StateDirs& dirs, bool json, bool names_only);
/// Forgets the image; its blobs go with gc. EBUSY, with the VM's name, when a VM was made from it, and when a
/// process reads it.
Result<void> remove_image(const StateDirs& dirs, const std::string& reference);
/// Prints what it removed.
Result<void> clean_up(const StateDirs& dirs);

}  // namespace layerboot::launcher
