// layerboot's commands that change or check the local store: pull, tag, rmi, verify, gc.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/options.h"
#include "launcher/images/image_supply.h"
#include "launcher/images/store_pull.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// How `options` want an image fetched that is not there.
SupplyOptions supply_options(const Options& options);

/// Prints the image's name in the store.
Result<void> pull(const StateDirs& dirs, const PullOptions& options);
/// Gives an image of the store the name `name` as well, which another may have had.
Result<void> tag_image(const StateDirs& dirs, const std::string& reference, const std::string& name);
/// Forgets the images; their blobs go with gc. EBUSY, with the VM's name, when a VM was made from one, and
/// when a process reads it. A digest, or its beginning, stands for an image with one name, or with `force`
/// for all its names.
Result<void> remove_images(const StateDirs& dirs, const std::vector<std::string>& references, bool force);
/// Reads all blobs of the images in `options.names`, of all where there are none; prints what is wrong. 1
/// when something is, and was not repaired.
Result<int> verify_images(const StateDirs& dirs, const Options& options);
/// Prints what it removed.
Result<void> clean_up(const StateDirs& dirs);

}  // namespace layerboot::launcher
